"""Preference rows as pairs of token rows, with what their labels say and how much they count."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunesmith.chat import render_rows
from tunesmith.errors import DataError
from tunesmith.records import Row
from tunesmith.training.batches import TokenRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

Ties = Literal["soft", "drop"]
Weights = Literal["none", "agreement", "labels"]


@dataclass(frozen=True, slots=True)
class PairRows:
    """Pairs as tokens: ``tokens`` row 2i is the chosen answer of pair i, row 2i + 1 the rejected.

    ``p`` (share of labels for chosen, a tie counts half), ``tied`` (share of ties) and ``weight``
    (mean 1) are (pairs,) float32.
    """

    tokens: TokenRows
    p: NDArray[np.float32]
    tied: NDArray[np.float32]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.p)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of both answers with their prompts, (pairs,): what a batch is planned by."""
        longest: NDArray[np.int64] = self.tokens.lengths.reshape(-1, 2).max(axis=1)
        return 2 * longest

    def digest(self) -> str:
        """Return a sha256 over tokens, labels and weights."""
        hasher = hashlib.sha256(self.tokens.digest().encode())
        for array in (self.p, self.tied, self.weight):
            hasher.update(array.tobytes())
        return hasher.hexdigest()

    def answers(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the token rows of these pairs: every chosen one, then every rejected one."""
        import numpy as np

        return np.concatenate([2 * pairs, 2 * pairs + 1])


def pair_rows(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    *,
    ties: Ties = "soft",
    weights: Weights = "none",
    longest: int | None = None,
) -> PairRows:
    """Render preference rows; pairs longer than ``longest`` tokens are refused with a DataError."""
    import numpy as np

    kept = [row for row in rows if ties == "soft" or share_for_chosen(row) != 0.5]
    if not kept:
        raise DataError(f"None of the {len(rows)} labelled pairs prefers one answer: all are ties.")
    tokens = TokenRows.build(render_rows(tokenizer, [r for row in kept for r in _answers(row)]))
    check_lengths(tokens, longest)
    raw = np.array([pair_weight(row, weights) for row in kept], dtype=np.float32)
    if not raw.any():
        raise DataError(f"No labelled pair has a weight above 0 with `weights: {weights}`.")
    p = np.array([share_for_chosen(row) for row in kept], dtype=np.float32)
    tied = np.array([share_of_ties(row) for row in kept], dtype=np.float32)
    return PairRows(tokens, p, tied, raw / raw.mean())


def _answers(row: Row) -> list[Row]:
    return [{"prompt": row["prompt"], "completion": row[side]} for side in ("chosen", "rejected")]


def check_lengths(tokens: TokenRows, longest: int | None) -> None:
    """Raise DataError when answers are longer than ``longest`` tokens with their prompts."""
    over = 0 if longest is None else int((tokens.lengths > longest).sum())
    if over:
        raise DataError(
            f"{over} of {len(tokens)} answers are longer than the model's {longest} tokens with"
            " their prompts. Filter them out with the `length` filter, or take a longer model."
        )


def share_for_chosen(row: Row) -> float:
    """Return the share of labels for ``chosen``; 1 for rows that say nothing but who won."""
    p = float(row.get("p_first", 1.0))
    if not 0 <= p <= 1:
        raise DataError(f"Pair {row.get('pair_id', '?')}: p_first must be 0 to 1; got {p}.")
    return p


def share_of_ties(row: Row) -> float:
    """Return the share of labels that call the answers equal."""
    votes = list(row.get("votes", {}).values())
    if not votes:
        return float(row.get("tie", share_for_chosen(row) == 0.5))
    return sum(vote not in ("chosen", "rejected") for vote in votes) / len(votes)


def pair_weight(row: Row, weights: Weights) -> float:
    """Return how much a pair counts before normalisation.

    ``agreement`` is the share of pairs of annotators who said the same (at least 0.1, for total
    disagreement is a label too), ``labels`` how many labels there are.
    """
    if weights == "none":
        return 1.0
    if weights == "labels":
        return float(row.get("n", 1))
    return max(0.1, float(row.get("agreement", 1.0)))
