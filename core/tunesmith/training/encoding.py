"""Rows to tokens: rendered in slices, so that memory stays flat; none is cut, some are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith import chat
from tunesmith.errors import DataError
from tunesmith.records import Row
from tunesmith.training.batches import TokenRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SLICE = 2048
"""Rows tokenised at once: enough to keep every core busy."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as tokens, and how many were dropped because they are too long."""

    rows: TokenRows
    too_long: int


def encode_rows(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    max_length: int | None = None,
    *,
    learn_all: bool = False,
) -> Encoded:
    """Render and tokenise rows; those longer than ``max_length`` tokens are dropped and counted.

    ``learn_all`` supervises the prompts too. Raises DataError when no row is left.
    """
    kept = TokenRows.build(
        row
        for row in _rendered(tokenizer, rows, learn_all=learn_all)
        if max_length is None or len(row.ids) <= max_length
    )
    if rows and not len(kept):
        raise DataError(
            f"All {len(rows)} rows are longer than {max_length} tokens."
            " Raise max_length, shorten the rows, or use a model with a longer context."
        )
    return Encoded(kept, len(rows) - len(kept))


def _rendered(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], *, learn_all: bool
) -> Iterator[chat.Rendered]:
    for start in range(0, len(rows), _SLICE):
        for row in chat.render_rows(tokenizer, rows[start : start + _SLICE]):
            yield chat.Rendered(row.ids, [True] * len(row.ids)) if learn_all else row
