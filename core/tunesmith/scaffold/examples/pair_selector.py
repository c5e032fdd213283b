"""Compare the longest answer with the shortest one."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tunesmith import PairSelector, hookimpl


class Example(PairSelector):
    """Choose the shortest and the longest answer, in either order."""

    name = "example"

    def choose(self, answers: Sequence[str], rng: Random) -> tuple[int, int] | None:
        """Return the two positions, or None when all answers are the same."""
        if len(set(answers)) < 2:
            return None
        places = sorted(range(len(answers)), key=lambda at: (len(answers[at]), answers[at]))
        first, last = places[0], places[-1]
        return (first, last) if rng.random() < 0.5 else (last, first)


@hookimpl
def register_pair_selectors() -> list[type[PairSelector]]:
    """Offer the selector."""
    return [Example]
