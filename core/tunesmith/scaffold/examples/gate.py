"""Refuse a model that has become significantly worse at anything."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import Gate, Measurement, Verdict, hookimpl


class Example(Gate):
    """Pass when no paired difference of a model to its parent is significantly for the worse."""

    name = "example"
    model: str = "tuned"
    """The model under test."""

    def decide(self, measurements: Sequence[Measurement]) -> Verdict:
        """Refuse when something is worse, cannot be measured, or was not compared at all."""
        title = f"{self.model} is nowhere significantly worse"
        seen = [one for one in measurements if one.model == self.model and one.baseline]
        keys = tuple(one.key for one in seen)
        if not seen:
            return Verdict(title, False, "it was not compared with anything")
        bad = [
            one for one in seen if one.significance() in ("significantly worse", "not measurable")
        ]
        if bad:
            reason = "; ".join(f"{one.name} is {one.significance()}" for one in bad)
            return Verdict(title, False, reason, keys)
        return Verdict(title, True, f"{len(seen)} comparisons, none of them worse", keys)


@hookimpl
def register_gates() -> list[type[Gate]]:
    """Offer the gate."""
    return [Example]
