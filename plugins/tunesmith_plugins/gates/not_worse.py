"""Non-inferiority: a model must not be worse than its parent by more than a margin."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import Gate, hookimpl
from tunesmith.evidence.measurements import Measurement, Verdict


class NotWorse(Gate):
    """Every task's paired lower bound stays above minus the margin (a non-inferiority test)."""

    name = "not_worse"
    model: str
    """The model under test, e.g. ``aligned`` or ``quantized``."""
    baseline: str
    """The model it is compared with, on the same engine and the same items."""
    margin: float = 0.05
    """How much may be lost, as a share of items: 0.05 is five points."""
    tasks: tuple[str, ...] = ()
    """Tasks to look at; empty means every task that both models were measured on."""

    def decide(self, measurements: Sequence[Measurement]) -> Verdict:
        """Pass when no lower bound is below ``-margin``; refuse missing or non-finite evidence."""
        seen = [m for m in measurements if m.model == self.model and m.baseline == self.baseline]
        seen = [m for m in seen if not self.tasks or m.name in self.tasks]
        missing = sorted(set(self.tasks) - {m.name for m in seen})
        if missing or not seen:
            what = ", ".join(missing) or "any task"
            return self._verdict(False, f"no comparison with {self.baseline} on {what}", seen)
        bad = [m for m in seen if not m.finite or m.lowest < -self.margin]
        if bad:
            return self._verdict(False, "; ".join(_say(m, self.margin) for m in bad), seen)
        worst = min(seen, key=lambda m: m.lowest)
        reason = f"lowest bound is {100 * worst.lowest:+.1f} points on {worst.name}"
        return self._verdict(True, f"{reason}, margin {-100 * self.margin:.0f}", seen)

    def _verdict(self, passed: bool, reason: str, seen: Sequence[Measurement]) -> Verdict:
        gate = f"{self.model} not worse than {self.baseline}"
        return Verdict(gate, passed, reason, tuple(m.key for m in seen))


def _say(m: Measurement, margin: float) -> str:
    if not m.finite:
        return f"{m.name} could not be measured"
    return (
        f"{m.name} {100 * m.value:+.1f} points"
        f" [{100 * m.lowest:+.1f}, {100 * m.high:+.1f}] over {m.n}, margin {-100 * margin:.0f}"
    )


@hookimpl
def register_gates() -> list[type[Gate]]:
    """Offer the technique."""
    return [NotWorse]
