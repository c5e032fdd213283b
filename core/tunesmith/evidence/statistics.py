"""The statistics behind every claim. All functions are deterministic for a given seed.

Intervals are two-sided 95 % unless ``confidence`` says otherwise. Inputs are plain floats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its interval, and how many observations stand behind it."""

    value: float
    low: float
    high: float
    n: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def wilson(successes: float, n: int, confidence: float = 0.95) -> Estimate:
    """Return a proportion with Wilson's score interval (Wilson 1927).

    ``successes`` may be fractional when ties count as half.
    """
    if n == 0:
        return NOTHING
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half), n)


def bootstrap_mean(
    values: Sequence[float], seed: int, confidence: float = 0.95, resamples: int = 4000
) -> Estimate:
    """Return a mean with the percentile bootstrap interval (Efron 1979).

    Give paired differences for a paired comparison: items are resampled, never models.
    """
    if not values:
        return NOTHING
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    means = _resampled_means(data, seed, resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(data.mean()), float(low), float(high), len(data))


def _resampled_means(data: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    import numpy as np

    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, 2_000_000 // len(data))
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        picks = rng.integers(0, len(data), size=(stop - start, len(data)))
        means[start:stop] = data[picks].mean(axis=1)
    return means


def paired_difference(
    model: dict[str, float], baseline: dict[str, float], seed: int, confidence: float = 0.95
) -> Estimate:
    """Return the mean difference over the items both have, with its bootstrap interval."""
    shared = sorted(model.keys() & baseline.keys())
    return bootstrap_mean([model[k] - baseline[k] for k in shared], seed, confidence)


def win_rate(wins: int, ties: int, losses: int, confidence: float = 0.95) -> Estimate:
    """Return the share of duels won; a tie counts as half a win."""
    return wilson(wins + ties / 2, wins + ties + losses, confidence)


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Return chance-corrected agreement of two annotators (Cohen 1960).

    NaN when there are no items, or when both used one and the same label throughout.
    """
    n = len(first)
    if n == 0 or len(second) != n:
        return math.nan
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    left, right = Counter(first), Counter(second)
    expected = sum(left[label] * right[label] for label in left) / (n * n)
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


def _nominal(a: str, b: str) -> float:
    return 0.0 if a == b else 1.0


def krippendorff_alpha(
    units: Sequence[Sequence[str]], distance: Callable[[str, str], float] = _nominal
) -> float:
    """Return Krippendorff's alpha (Krippendorff 2011) for labels grouped by unit.

    ``units`` holds the labels each unit received; units with fewer than two are not pairable and do
    not count. NaN when nothing is pairable or when only one label was ever used.
    """
    pairable = [list(unit) for unit in units if len(unit) > 1]
    totals = Counter(label for unit in pairable for label in unit)
    n = sum(totals.values())
    if n < 2 or len(totals) < 2:
        return math.nan
    observed = sum(_unit_disagreement(unit, distance) for unit in pairable) / n
    expected = sum(
        totals[a] * totals[b] * distance(a, b) for a in totals for b in totals if a != b
    ) / (n * (n - 1))
    return 1 - observed / expected


def _unit_disagreement(unit: list[str], distance: Callable[[str, str], float]) -> float:
    counts = Counter(unit)
    pairs = sum(counts[a] * counts[b] * distance(a, b) for a in counts for b in counts if a != b)
    return pairs / (len(unit) - 1)


def expected_calibration_error(
    predicted: Sequence[float], happened: Sequence[float], bins: int = 10
) -> float:
    """Return the ECE (Naeini et al. 2015): mean gap of confidence and frequency over equal bins."""
    if not predicted:
        return math.nan
    total = 0.0
    for inside in _bins(predicted, bins):
        if inside:
            confidence = sum(predicted[i] for i in inside) / len(inside)
            frequency = sum(happened[i] for i in inside) / len(inside)
            total += len(inside) * abs(confidence - frequency)
    return total / len(predicted)


def reliability(
    predicted: Sequence[float], happened: Sequence[float], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return (mean predicted, observed frequency, count) of each bin that is not empty."""
    return [
        (
            sum(predicted[i] for i in inside) / len(inside),
            sum(happened[i] for i in inside) / len(inside),
            len(inside),
        )
        for inside in _bins(predicted, bins)
        if inside
    ]


def _bins(predicted: Sequence[float], bins: int) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(bins)]
    for i, p in enumerate(predicted):
        groups[min(bins - 1, max(0, int(p * bins)))].append(i)
    return groups


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation with mean ranks for ties; NaN when one is constant."""
    return pearson(_ranks(first), _ranks(second))


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's correlation; NaN for fewer than two points or a constant series."""
    n = len(first)
    if n < 2:
        return math.nan
    a, b = sum(first) / n, sum(second) / n
    top = sum((x - a) * (y - b) for x, y in zip(first, second, strict=True))
    left, right = sum((x - a) ** 2 for x in first), sum((y - b) ** 2 for y in second)
    return top / math.sqrt(left * right) if left > 0 and right > 0 else math.nan


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        stop = start
        while stop + 1 < len(order) and values[order[stop + 1]] == values[order[start]]:
            stop += 1
        for i in order[start : stop + 1]:
            ranks[i] = (start + stop) / 2 + 1
        start = stop + 1
    return ranks
