"""Asking a reward for the worth of answers, whatever it has to know of their prompts.

Most scorers read the conversation. A rule also needs what the row knows, such as its reference
answer: it has a second way to be asked, ``with_rows(rows, completions)``, and refuses the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tunesmith.records import Row, Scorer


@runtime_checkable
class RowScorer(Protocol):
    """A scorer that must see the whole row of each prompt."""

    def with_rows(self, rows: Sequence[Row], completions: Sequence[str]) -> list[float]:
        """Return one finite reward per completion; ``rows[i]`` is what completion ``i`` answers."""
        ...


def score_rows(scorer: Scorer, rows: Sequence[Row], completions: Sequence[str]) -> list[float]:
    """Return the rewards of completions, each of the row in the same place."""
    if isinstance(scorer, RowScorer):
        return scorer.with_rows(rows, completions)
    return scorer([list(row["prompt"]) for row in rows], completions)
