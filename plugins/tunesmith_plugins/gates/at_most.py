"""A ceiling over one number."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import Gate, hookimpl
from tunesmith.evidence.measurements import Measurement, Verdict


class AtMost(Gate):
    """A measurement stays below a value, its interval's upper end included."""

    name = "at_most"
    measurement: str
    """Its name, e.g. ``size_ratio``."""
    model: str
    """The model it was measured on."""
    value: float
    """The ceiling, in the measurement's own unit."""

    def decide(self, measurements: Sequence[Measurement]) -> Verdict:
        """Pass when the upper end is below the ceiling; refuse missing or non-finite evidence."""
        gate = f"{self.measurement} of {self.model} at most {self.value:g}"
        for m in measurements:
            if m.name == self.measurement and m.model == self.model and m.baseline is None:
                passed = m.finite and m.high <= self.value
                reason = f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}] over {m.n}"
                return Verdict(gate, passed, reason, (m.key,))
        return Verdict(gate, False, "it was not measured")


@hookimpl
def register_gates() -> list[type[Gate]]:
    """Offer the technique."""
    return [AtMost]
