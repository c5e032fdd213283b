"""Pairs drawn at random: no assumption about which comparison teaches most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from random import Random

from tunesmith import PairSelector, hookimpl


class RandomPair(PairSelector):
    """Any two different answers, every such pair equally likely, in either order."""

    name = "random"

    def choose(self, answers: Sequence[str], rng: Random) -> tuple[int, int] | None:
        """Return two positions whose texts differ in more than white space, or None."""
        texts = [" ".join(answer.split()) for answer in answers]
        different = [(i, j) for i, j in combinations(range(len(texts)), 2) if texts[i] != texts[j]]
        if not different:
            return None
        first, second = rng.choice(different)
        return (first, second) if rng.random() < 0.5 else (second, first)


@hookimpl
def register_pair_selectors() -> list[type[PairSelector]]:
    """Offer the technique."""
    return [RandomPair]
