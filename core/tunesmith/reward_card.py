"""What is known about a reward model before it may train a policy, and the gate that asks for it.

Everything is measured on held-out pairs. Accuracy is counted in labels: how often the reward agrees
with an annotator, on the pairs where it can be right or wrong. The ceiling is what a perfect judge
would reach there, so the two may be divided.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.evidence.measurements import Verdict
from tunesmith.evidence.statistics import (
    Estimate,
    expected_calibration_error,
    pearson,
    reliability,
    spearman,
    wilson,
)
from tunesmith.preferences import (
    Ceiling,
    ceiling,
    ceiling_points,
    comparable,
    points,
    share_right,
    worth_gap,
)
from tunesmith.records import Row, Scorer
from tunesmith.scorers import score_rows

_RESAMPLES = 2000


class RewardGate(BaseModel):
    """What a reward model must show on held-out pairs; the `gate` section of `reward`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    min_of_ceiling: float | None = Field(default=0.9, gt=0)
    """Least accuracy as a share of the annotators' ceiling; null when there is no overlap."""
    min_accuracy: float | None = None
    """Least held-out accuracy, whatever the ceiling."""
    max_calibration_error: float | None = None
    """Largest expected calibration error of the predicted preferences."""
    max_length_correlation: float | None = None
    """Largest absolute rank correlation of reward and length."""


@dataclass(frozen=True, slots=True)
class RewardCard:
    """The numbers; every estimate has its 95 % interval and counts pairs."""

    accuracy: Estimate
    """Agreement of the reward with held-out labels."""
    ceiling: Ceiling
    ratio: Estimate
    """Accuracy as a share of the ceiling, interval by bootstrap over pairs."""
    majority: Estimate
    """Agreement with the majority of each pair's labels, draws left out."""
    against_utility: Estimate | None
    """Agreement with the noiseless utility, where it is known."""
    calibration_error: float
    bins: list[tuple[float, float, int]]
    """Reliability: predicted chance, observed share of labels, pairs."""
    length_spearman: float
    """Rank correlation of reward and length over all held-out answers."""
    length_pearson: float
    longer_wins: Estimate
    """What preferring the longer answer would reach: a reward must know more than that."""
    ties: int
    """Held-out pairs without a majority."""
    tie_gap: float
    """Mean absolute reward gap on those, as a share of that on the others; small is right."""
    pairs: int

    def record(self) -> dict[str, Any]:
        """Return the card as plain JSON values; what could not be measured is null."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain

    def write(self, path: Path) -> None:
        """Write the card as JSON."""
        text = json.dumps(self.record(), indent=2, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def reward_card(scorer: Scorer, rows: Sequence[Row], seed: int = 0) -> RewardCard:
    """Score held-out preference rows and return the card; deterministic for a seed.

    A scorer may have a ``scale``: by how much log-odds of being preferred rise per unit of reward.
    """
    chosen, rejected = scores(scorer, rows)
    gaps = [a - b for a, b in zip(chosen, rejected, strict=True)]
    by_id = {id(row): gap for row, gap in zip(rows, gaps, strict=True)}
    seen = comparable(rows)
    seen_gaps = [by_id[id(row)] for row in seen]
    predicted, observed = _calibration(rows, gaps, getattr(scorer, "scale", 1.0))
    lengths = [len(_text(row, side)) for side in ("chosen", "rejected") for row in rows]
    longer = [float(len(_text(row, "chosen")) - len(_text(row, "rejected"))) for row in seen]
    return RewardCard(
        accuracy=share_right(seen, seen_gaps),
        ceiling=ceiling(rows),
        ratio=_ratio(seen, seen_gaps, seed),
        majority=_majority(rows, gaps),
        against_utility=_against_utility(seen, seen_gaps),
        calibration_error=expected_calibration_error(predicted, observed),
        bins=reliability(predicted, observed),
        length_spearman=spearman(chosen + rejected, [float(n) for n in lengths]),
        length_pearson=pearson(chosen + rejected, [float(n) for n in lengths]),
        longer_wins=share_right(seen, longer),
        ties=sum(bool(row["tie"]) for row in rows),
        tie_gap=_tie_gap(rows, gaps),
        pairs=len(rows),
    )


def scores(scorer: Scorer, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Return the rewards of the chosen and of the rejected answers."""
    texts = [_text(row, side) for side in ("chosen", "rejected") for row in rows]
    both = score_rows(scorer, [*rows, *rows], texts)
    return list(both[: len(rows)]), list(both[len(rows) :])


def _text(row: Row, side: str) -> str:
    return str(row[side][0]["content"])


def _ratio(rows: Sequence[Row], gaps: Sequence[float], seed: int) -> Estimate:
    """Divide accuracy by ceiling on the pairs that have one; pairs are resampled."""
    _, tops = ceiling_points(rows)
    both = [(a, b) for a, b in zip(points(rows, gaps), tops, strict=True) if b is not None]
    if not both or not sum(b for _, b in both):
        return Estimate(math.nan, math.nan, math.nan, 0)
    import numpy as np

    right, top = np.array(both).T
    picks = np.random.default_rng(seed).integers(0, len(both), size=(_RESAMPLES, len(both)))
    tops_again = np.maximum(top[picks].sum(axis=1), 1e-9)
    low, high = np.quantile(right[picks].sum(axis=1) / tops_again, [0.025, 0.975])
    return Estimate(float(right.sum() / top.sum()), float(low), float(high), len(both))


def _majority(rows: Sequence[Row], gaps: Sequence[float]) -> Estimate:
    right = [
        1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
        for row, gap in zip(rows, gaps, strict=True)
        if not row["tie"]
    ]
    return wilson(sum(right), len(right))


def _against_utility(rows: Sequence[Row], gaps: Sequence[float]) -> Estimate | None:
    worths = [worth_gap(row) for row in rows]
    known = [(gap, worth) for gap, worth in zip(gaps, worths, strict=True) if worth is not None]
    if not known:
        return None
    return wilson(sum(0.5 if g == 0 else float((g > 0) == (w > 0)) for g, w in known), len(known))


def _calibration(
    rows: Sequence[Row], gaps: Sequence[float], scale: float
) -> tuple[list[float], list[float]]:
    """Return the predicted and the observed share of labels for the answer the reward prefers.

    ``chosen`` is the winner by definition, so predictions for it would look too timid.
    """
    predicted = [1 / (1 + math.exp(-min(abs(gap) * scale, 500.0))) for gap in gaps]
    shares = [float(row["p_first"]) for row in rows]
    observed = [p if gap >= 0 else 1 - p for p, gap in zip(shares, gaps, strict=True)]
    return predicted, observed


def _tie_gap(rows: Sequence[Row], gaps: Sequence[float]) -> float:
    tied = [abs(gap) for row, gap in zip(rows, gaps, strict=True) if row["tie"]]
    others = [abs(gap) for row, gap in zip(rows, gaps, strict=True) if not row["tie"]]
    if not tied or not sum(others):
        return math.nan
    return (sum(tied) / len(tied)) / (sum(others) / len(others))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decide(card: RewardCard, gate: RewardGate) -> Verdict:
    """Return whether a reward model may train a policy, and why, in words."""
    failures = [said for said in _failures(card, gate) if said]
    name = "reward model"
    if failures:
        return Verdict(name, False, "; ".join(failures))
    top = card.ceiling.estimate
    known = f", {100 * card.ratio.value:.0f} % of the annotators' own {_say(top)}" if top.n else ""
    return Verdict(name, True, f"accuracy {_say(card.accuracy)}{known}")


def _failures(card: RewardCard, gate: RewardGate) -> list[str]:
    found = [_better_than_chance(card), _near_the_ceiling(card, gate.min_of_ceiling)]
    if gate.min_accuracy is not None and not card.accuracy.value >= gate.min_accuracy:
        found.append(f"accuracy {_say(card.accuracy)} is below {gate.min_accuracy:g}")
    error, most = card.calibration_error, gate.max_calibration_error
    if most is not None and not error <= most:
        found.append(f"the calibration error {error:.3f} is above {most:g}")
    tied, limit = abs(card.length_spearman), gate.max_length_correlation
    if limit is not None and not tied <= limit:
        found.append(f"the reward follows length (rank correlation {tied:.2f}, limit {limit:g})")
    return found


def _better_than_chance(card: RewardCard) -> str:
    if card.accuracy.low > 0.5:
        return ""
    return f"accuracy {_say(card.accuracy)} is not significantly better than chance"


def _near_the_ceiling(card: RewardCard, least: float | None) -> str:
    if least is None or card.ratio.value >= least:
        return ""
    if card.ceiling.kind == "none":
        return (
            "no ceiling can be measured because no pair has two labels; raise `collect.overlap`"
            " or set `reward.gate.min_of_ceiling: null` with a `min_accuracy`"
        )
    return (
        f"accuracy {_say(card.accuracy)} is {100 * card.ratio.value:.0f} % of the annotators' own"
        f" {_say(card.ceiling.estimate)}, and {100 * least:.0f} % is asked for"
    )


def _say(estimate: Estimate) -> str:
    e = estimate
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}] over {e.n} pairs"
