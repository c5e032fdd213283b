"""The reward model's card, read back from its artifact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tunesmith.evidence.measurements import Verdict
from tunesmith.evidence.statistics import NOTHING, Estimate
from tunesmith.report import files
from tunesmith.report.facts import RewardFacts, RuleFacts
from tunesmith.store import Store


def read_reward(store: Store, artifact_id: str) -> RewardFacts:
    """Return the card; what could not be measured is NaN."""
    card = files.read_json(store, artifact_id, "card.json")
    ceiling = card.get("ceiling") or {}
    return RewardFacts(
        accuracy=estimate(card.get("accuracy")),
        ceiling=estimate(ceiling.get("estimate")),
        ceiling_kind=str(ceiling.get("kind", "none")),
        ratio=estimate(card.get("ratio")),
        majority=estimate(card.get("majority")),
        against_utility=estimate(card["against_utility"]) if card.get("against_utility") else None,
        longer_wins=estimate(card.get("longer_wins")),
        calibration_error=number(card.get("calibration_error")),
        bins=[(float(p), float(o), int(n)) for p, o, n in card.get("bins") or []],
        length_spearman=number(card.get("length_spearman")),
        ties=int(card.get("ties") or 0),
        tie_gap=number(card.get("tie_gap")),
        pairs=int(card.get("pairs") or 0),
        verdict=Verdict(**card["verdict"]),
        rule=_rule(card) if card.get("kind") == "rule" else None,
    )


def _rule(card: Mapping[str, Any]) -> RuleFacts:
    return RuleFacts(
        rows=int(card["rows"]),
        empty=number(card["empty"]),
        solved=number(card["solved"]),
        solved_rows=int(card["solved_rows"]),
        separates=estimate(card["separates"]),
    )


def estimate(told: Mapping[str, Any] | None) -> Estimate:
    """Return an estimate from its JSON, where null stands for NaN."""
    if not told:
        return NOTHING
    value, low, high = (number(told.get(part)) for part in ("value", "low", "high"))
    return Estimate(value, low, high, int(told.get("n") or 0))


def number(told: float | None) -> float:
    """Return a number from its JSON, where null stands for NaN."""
    return math.nan if told is None else float(told)
