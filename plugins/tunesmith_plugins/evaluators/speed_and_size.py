"""Size: what a model costs to store, alone and against its parent.

Speed is shown in the report from the run's timings; it is no measurement here, because evidence is
part of an artifact and an artifact must not depend on how busy the machine was.
"""

from __future__ import annotations

from tunesmith import Evaluator, hookimpl
from tunesmith.evidence.measurements import Evidence, Measurement


class SpeedAndSize(Evaluator):
    """Bytes on disk, bits per weight, and size as a share of the parent's fp32 size."""

    name = "speed_and_size"

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """Return ``bytes`` and ``bits_per_weight`` per model, ``size_ratio`` where known."""
        found = []
        for print_ in evidence.footprints:
            found.append(_exact("bytes", print_.model, float(print_.bytes), "bytes"))
            found.append(_exact("bits_per_weight", print_.model, print_.bits_per_weight, "bits"))
            found.append(_exact("size_ratio", print_.model, print_.bits_per_weight / 32, "of fp32"))
        return found


def _exact(name: str, model: str, value: float, unit: str) -> Measurement:
    return Measurement(
        name=name, model=model, value=value, low=value, high=value, n=1, unit=unit,
        higher_is_better=False, method="counted",
    )  # fmt: skip


@hookimpl
def register_evaluators() -> list[type[Evaluator]]:
    """Offer the technique."""
    return [SpeedAndSize]
