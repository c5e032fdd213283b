"""Choosing among smaller models: what may be taken at all, what is on the front, what is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith.errors import GateRefused
from tunesmith.evidence.measurements import Measurement

ALIKE = 0.03
"""Speeds that differ by less than this share are one speed; a timer sees no more than that."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model answered: medians over interleaved rounds, outside every digest."""

    latency: float
    """Seconds per new token, one answer at a time."""
    throughput: float
    """New tokens per second, many answers at once."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination that was tried, against its parent on the same engine and items."""

    label: str
    engine: str
    parent: str
    bytes: int
    bits_per_weight: float
    gaps: Sequence[Measurement] = ()
    """The paired difference from the parent, per task."""
    accelerators: Mapping[str, bool] = field(default_factory=dict)
    """The accelerators that were asked for, and whether each was proved and stays on."""

    @property
    def worst(self) -> Measurement:
        """Return the task that may have lost most."""
        return min(self.gaps, key=lambda gap: gap.lowest)

    def within(self, budget: float) -> bool:
        """Say whether no task may have lost more than ``budget``, a share of items."""
        return bool(self.gaps) and all(gap.finite and gap.lowest >= -budget for gap in self.gaps)

    def sentence(self) -> str:
        """Return the number that decides, for people."""
        if not self.gaps:
            return f"{self.label}: nothing was measured"
        gap = self.worst
        told = f"{100 * gap.value:+.1f} [{100 * gap.lowest:+.1f}, {100 * gap.high:+.1f}]"
        return f"{self.label}: {told} points on {gap.n} items of {gap.name} against {self.parent}"


def cost(trial: Trial, target: str, speeds: Mapping[str, Speed]) -> float:
    """Return what a target wants little of: bytes, or seconds per token, alone or of many."""
    if target == "size":
        return float(trial.bytes)
    speed = speeds[trial.label]
    return speed.latency if target == "latency" else 1 / speed.throughput


def pick(trials: Sequence[Trial], target: str, budget: float, speeds: Mapping[str, Speed]) -> Trial:
    """Return the trial within the budget that the target likes best.

    Among those that are as good as equally fast the smallest is taken, then the first. Raises
    GateRefused, with the numbers of each, when all of them lose too much.
    """
    allowed = [trial for trial in trials if trial.within(budget)]
    if not allowed:
        told = "; ".join(trial.sentence() for trial in trials)
        raise GateRefused(
            f"No combination stays within the budget of {100 * budget:g} points (optimise.choose"
            f".budget): {told}. Ask more items for narrower intervals (optimise.choose.items),"
            " allow more, or add milder alternatives."
        )
    best = min(cost(trial, target, speeds) for trial in allowed)
    slack = 1.0 if target == "size" else 1 + ALIKE
    good = [trial for trial in allowed if cost(trial, target, speeds) <= best * slack]
    return min(good, key=lambda trial: trial.bytes)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the positions of the points that none dominates (Pareto), cheapest first.

    A point is a cost, of which less is better, and a quality, of which more is better.
    """
    found: list[int] = []
    best = float("-inf")
    for at in sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1])):
        if points[at][1] > best:
            found.append(at)
            best = points[at][1]
    return found
