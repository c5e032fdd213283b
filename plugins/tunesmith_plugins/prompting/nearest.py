"""Rank texts by how much they resemble one: TF-IDF over character n-grams, and the cosine.

Runs of three characters inside words find `kites` near `kite` and need no spaces between words, so
that the same ranking serves every language. The weights are those of Salton and Buckley (1988).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

N = 3
"""Characters per run."""
_DIGITS = 9
"""Decimals that count: sums that differ by rounding alone are ties."""


@dataclass(frozen=True, slots=True)
class Index:
    """The texts that can be found, by the runs of characters in them."""

    size: int
    holders: dict[str, list[tuple[int, float]]]
    """Run -> (number of a text, its weight there); a text's weights have length 1."""
    rarity: dict[str, float]

    def scores(self, text: str) -> list[float]:
        """Return the cosine of a text with every indexed one, 0 to 1."""
        found = [0.0] * self.size
        for gram, weight in _unit(_grams(text), self.rarity).items():
            for number, own in self.holders.get(gram, ()):
                found[number] += weight * own
        return [round(one, _DIGITS) for one in found]


def ranked(texts: Sequence[str], text: str) -> list[int]:
    """Return the numbers of the texts, the most similar first; of equals the earlier one first."""
    scores = _index(tuple(texts)).scores(text)
    return sorted(range(len(texts)), key=lambda number: (-scores[number], number))


@lru_cache(maxsize=4)
def _index(texts: tuple[str, ...]) -> Index:
    counts = [_grams(text) for text in texts]
    holding = Counter(gram for one in counts for gram in one)
    rarity = {gram: math.log((1 + len(texts)) / (1 + n)) + 1 for gram, n in holding.items()}
    holders: dict[str, list[tuple[int, float]]] = {}
    for number, one in enumerate(counts):
        for gram, weight in _unit(one, rarity).items():
            holders.setdefault(gram, []).append((number, weight))
    return Index(len(texts), holders, rarity)


def _grams(text: str) -> Counter[str]:
    """Count the runs of characters in each word, its edges marked by a space."""
    padded = [f" {word} " for word in re.findall(r"\w+", text.lower())]
    return Counter(word[at : at + N] for word in padded for at in range(len(word) - N + 1))


def _unit(counts: Counter[str], rarity: dict[str, float]) -> dict[str, float]:
    """Return weights of length 1; a run that no indexed text has counts towards the length."""
    unknown = max(rarity.values(), default=1.0)
    raw = {gram: (1 + math.log(n)) * rarity.get(gram, unknown) for gram, n in counts.items()}
    length = math.sqrt(math.fsum(weight * weight for weight in raw.values()))
    return {gram: weight / length for gram, weight in raw.items()} if length else {}
