"""Win rate: how often one model's answer is worth more than another's to the same prompt."""

from __future__ import annotations

from collections import defaultdict

from tunesmith import Evaluator, hookimpl
from tunesmith.evidence.measurements import Duel, Evidence, Measurement
from tunesmith.evidence.statistics import win_rate


class WinRate(Evaluator):
    """Share of duels won against the parent; ties count half; Wilson's interval.

    The judge is whoever set the duels' utilities, never the reward a policy was trained on.
    """

    name = "win_rate"
    tie: float = 1e-9
    """Two answers whose utilities differ by no more than this are tied."""

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """Return one ``win_rate`` per pair of models that met."""
        meetings: dict[tuple[str, str, str], list[Duel]] = defaultdict(list)
        for duel in evidence.duels:
            meetings[duel.model, duel.baseline, duel.task].append(duel)
        return [self._one(*key, duels) for key, duels in sorted(meetings.items())]

    def _one(self, model: str, baseline: str, task: str, duels: list[Duel]) -> Measurement:
        points = {d.item: self._points(d) for d in duels}
        wins = sum(p == 1.0 for p in points.values())
        ties = sum(p == 0.5 for p in points.values())
        rate = win_rate(wins, ties, len(points) - wins - ties)
        return Measurement(
            name=f"win_rate:{baseline}", model=model, task=task, unit="share",
            method=f"{wins} won, {ties} tied; Wilson 95 %",
            value=rate.value, low=rate.low, high=rate.high, n=rate.n, per_item=points,
        )  # fmt: skip

    def _points(self, duel: Duel) -> float:
        gap = duel.utility - duel.baseline_utility
        if abs(gap) <= self.tie:
            return 0.5
        return 1.0 if gap > 0 else 0.0


@hookimpl
def register_evaluators() -> list[type[Evaluator]]:
    """Offer the technique."""
    return [WinRate]
