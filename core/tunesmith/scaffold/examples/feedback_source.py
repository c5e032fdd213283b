"""A rule that judges: the answer nearer to a wished length is better."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from tunesmith import FeedbackSource, Label, Pair, hookimpl


class Example(FeedbackSource):
    """Prefer the answer whose number of words is nearer to what is wished for."""

    name = "example"
    simulated = True
    words: int = Field(default=12, ge=1)
    """The wished number of words."""

    def judge(self, pairs: Sequence[Pair], seed: int) -> list[Label]:
        """Return one label per pair; equally near answers are tied."""
        return [Label(pair.id, self.name, self._verdict(pair), source=self.name) for pair in pairs]

    def utility(self, pair: Pair, answer: str) -> float:
        """Return minus the distance to the wished number of words."""
        return -abs(len(answer.split()) - self.words)

    def _verdict(self, pair: Pair) -> str:
        first, second = (self.utility(pair, text) for text in (pair.first, pair.second))
        return "tie" if first == second else "first" if first > second else "second"


@hookimpl
def register_feedback_sources() -> list[type[FeedbackSource]]:
    """Offer the source."""
    return [Example]
