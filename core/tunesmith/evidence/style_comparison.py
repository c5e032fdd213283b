"""Prompt styles compared on the same items by one model: shares, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.evidence.measurements import Answer, Measurement
from tunesmith.evidence.statistics import bootstrap_mean, paired_difference, wilson

Answers = dict[str, list[Answer]]
"""A model's answers by the style they were asked for in."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the answers show; the first style is the one the others are compared with."""

    solved: list[Measurement]
    """Share of items solved, per style."""
    scores: list[Measurement]
    """Mean of the task's own metric, per style."""
    differences: list[Measurement]
    """Solved more or less than the first style, per other style."""
    confidence: float
    """Of each difference, so that all of them together hold with 95 %."""

    def difference(self, style: str) -> Measurement | None:
        """Return how a style differs from the first one."""
        return next((one for one in self.differences if one.name == style), None)


def compared(answers: Answers, metric: str, seed: int) -> Comparison:
    """Return shares (Wilson), means (bootstrap) and paired differences (bootstrap, Bonferroni).

    With k differences each has a confidence of 1 - 0.05 / k (Dunn 1961): trying many styles does
    not make one of them look better by luck.
    """
    first = next(iter(answers))
    others = [style for style in answers if style != first]
    confidence = 1 - 0.05 / max(1, len(others))
    return Comparison(
        solved=[_solved(style, given) for style, given in answers.items()],
        scores=[_score(style, given, metric, seed) for style, given in answers.items()],
        differences=[_difference(style, first, answers, seed, confidence) for style in others],
        confidence=confidence,
    )


def _solved(style: str, given: Sequence[Answer]) -> Measurement:
    share = wilson(sum(one.correct for one in given), len(given))
    return Measurement(
        name=style, model=given[0].model, task=given[0].task, unit="share", method="Wilson 95 %",
        value=share.value, low=share.low, high=share.high, n=share.n, per_item=_items(given),
    )  # fmt: skip


def _score(style: str, given: Sequence[Answer], metric: str, seed: int) -> Measurement:
    mean = bootstrap_mean([one.value for one in given], seed)
    return Measurement(
        name=style, model=given[0].model, task=given[0].task, unit=metric,
        method="bootstrap 95 %", value=mean.value, low=mean.low, high=mean.high, n=mean.n,
    )  # fmt: skip


def _difference(
    style: str, first: str, answers: Answers, seed: int, confidence: float
) -> Measurement:
    given, baseline = answers[style], answers[first]
    gap = paired_difference(_items(given), _items(baseline), seed, confidence)
    return Measurement(
        name=style, model=given[0].model, baseline=first, task=given[0].task, unit="share",
        method=f"paired bootstrap {100 * confidence:.4g} %",
        value=gap.value, low=gap.low, high=gap.high, n=gap.n,
    )  # fmt: skip


def _items(given: Sequence[Answer]) -> dict[str, float]:
    return {one.item: float(one.correct) for one in given}
