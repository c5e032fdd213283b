"""A floor under one number."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import Gate, hookimpl
from tunesmith.evidence.measurements import Measurement, Verdict


class AtLeast(Gate):
    """A measurement reaches a value; by default the lower end of its interval has to."""

    name = "at_least"
    measurement: str
    """Its name, e.g. ``maths_reasoning:chain_of_thought`` or ``win_rate:tuned``."""
    model: str
    """The model it was measured on."""
    value: float
    """The floor, in the measurement's own unit (shares are 0 to 1)."""
    use: str = "low"
    """``low`` compares the interval's lower end, ``value`` the estimate itself."""

    def problems(self) -> list[str]:
        """Refuse another ``use`` before anything runs."""
        known = ("low", "value")
        return [] if self.use in known else [f"at_least.use is {self.use!r}; use low or value."]

    def decide(self, measurements: Sequence[Measurement]) -> Verdict:
        """Pass when the bound reaches the floor; refuse missing or non-finite evidence."""
        gate = f"{self.measurement} of {self.model} at least {self.value:g}"
        for m in measurements:
            if m.name == self.measurement and m.model == self.model and m.baseline is None:
                bound = m.low if self.use == "low" else m.value
                passed = m.finite and bound >= self.value
                reason = f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}] over {m.n}"
                return Verdict(gate, passed, reason, (m.key,))
        return Verdict(gate, False, "it was not measured")


@hookimpl
def register_gates() -> list[type[Gate]]:
    """Offer the technique."""
    return [AtLeast]
