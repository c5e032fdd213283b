"""What is known about a rule before it may train a policy: does it tell right from wrong?

A rule learns from nobody, so there are no labels to agree with. It is tried on the prompts it will
reward instead: on the solved answers that some rows hold, and on an empty answer to each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.evidence.measurements import Verdict
from tunesmith.evidence.statistics import Estimate, wilson
from tunesmith.records import Row, Scorer
from tunesmith.scorers import score_rows


@dataclass(frozen=True, slots=True)
class RuleCard:
    """The numbers; rewards are means over rows."""

    rows: int
    empty: float
    """Reward of saying nothing."""
    solved: float
    """Reward of the rows' own solved answers; NaN where no row holds one."""
    solved_rows: int
    separates: Estimate
    """Share of those rows whose own answer earns more than an empty one."""

    def record(self) -> dict[str, Any]:
        """Return the card as plain JSON values; what could not be measured is null."""
        found = asdict(self) | {"kind": "rule"}
        found["separates"] = {key: _finite(value) for key, value in found["separates"].items()}
        return {key: _finite(value) for key, value in found.items()}

    def write(self, path: Path) -> None:
        """Write the card as JSON."""
        text = json.dumps(self.record(), indent=2, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def rule_card(scorer: Scorer, rows: Sequence[Row]) -> RuleCard:
    """Try a rule on rows; raises what it raises for a row that it cannot score."""
    empty = score_rows(scorer, rows, [""] * len(rows))
    own = [at for at, row in enumerate(rows) if row.get("completion")]
    solved = score_rows(scorer, [rows[at] for at in own], [_solved(rows[at]) for at in own])
    better = sum(reward > empty[at] for at, reward in zip(own, solved, strict=True))
    return RuleCard(len(rows), _mean(empty), _mean(solved), len(own), wilson(better, len(own)))


def decide_rule(card: RuleCard) -> Verdict:
    """Return whether a rule may train a policy: solved answers must earn more than silence."""
    name = "reward rule"
    if not card.solved_rows:
        return Verdict(
            name,
            True,
            f"it scores all {card.rows} prompts; none holds a solved answer to try",
        )
    told = (
        f"the solved answers of {card.solved_rows} of {card.rows} prompts earn {card.solved:.3f} on"
        f" average, an empty one {card.empty:.3f}"
    )
    if card.separates.low > 0.5:
        return Verdict(name, True, told)
    return Verdict(
        name,
        False,
        f"{told}; only {card.separates.value:.0%} earn more than silence. Is `task` the right one,"
        " and does each row's `reference` belong to its answer?",
    )


def _solved(row: Row) -> str:
    said = row["completion"]
    return said if isinstance(said, str) else str(said[-1]["content"])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
