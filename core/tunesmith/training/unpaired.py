"""Answers that are liked or not, each by itself, and the same answers under other prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunesmith.chat import Rendered, render_rows
from tunesmith.errors import DataError
from tunesmith.records import Row
from tunesmith.training.batches import Indices, Step, TokenRows
from tunesmith.training.preference import Weights, check_lengths, pair_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

Undecided = Literal["drop", "desirable", "undesirable"]


@dataclass(frozen=True, slots=True)
class UnpairedRows:
    """Answers as tokens; ``desirable`` and ``weight`` (mean 1) are (answers,)."""

    tokens: TokenRows
    desirable: NDArray[np.bool_]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)

    def digest(self) -> str:
        """Return a sha256 over tokens, labels and weights."""
        hasher = hashlib.sha256(self.tokens.digest().encode())
        hasher.update(self.desirable.tobytes() + self.weight.tobytes())
        return hasher.hexdigest()

    def prompt(self, row: int) -> list[int]:
        """Return the tokens an answer was given to."""
        return self._tokens(row, answer=False)

    def answer(self, row: int) -> list[int]:
        """Return the tokens of an answer."""
        return self._tokens(row, answer=True)

    def _tokens(self, row: int, *, answer: bool) -> list[int]:
        at = slice(self.tokens.starts[row], self.tokens.starts[row + 1])
        return [int(i) for i in self.tokens.ids[at][self.tokens.supervised[at] == answer]]


def unpaired_rows(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    *,
    undecided: Undecided = "drop",
    weights: Weights = "none",
    longest: int | None = None,
) -> UnpairedRows:
    """Render unpaired preference rows.

    Rows marked ``undecided`` (see `preferences.unpaired`) are dropped or take that label. Raises
    DataError when none is left, and for answers longer than ``longest`` tokens.
    """
    import numpy as np

    kept = [row for row in rows if undecided != "drop" or not row.get("undecided")]
    if not kept:
        raise DataError(f"None of the {len(rows)} answers was liked or disliked: all are ties.")
    tokens = TokenRows.build(render_rows(tokenizer, kept))
    check_lengths(tokens, longest)
    raw = np.array([pair_weight(row, weights) for row in kept], dtype=np.float32)
    if not raw.any():
        raise DataError(f"No answer has a weight above 0 with `weights: {weights}`.")
    liked = [undecided == "desirable" if r.get("undecided") else r["label"] for r in kept]
    return UnpairedRows(tokens, np.array(liked, dtype=np.bool_), raw / raw.mean())


class Mismatched:
    """Each step's prompts with the answers to other prompts of that step.

    What such answers gain on average estimates how far the policy has moved at all (Ethayarajh et
    al. 2024, section 4.1), with the same answers as the step learns from.
    """

    def __init__(self, rows: UnpairedRows, steps: Sequence[Step], longest: int) -> None:
        import numpy as np

        self.rows, self.longest = rows, longest
        codes: dict[tuple[int, ...], int] = {}
        prompts = [tuple(rows.prompt(row)) for row in range(len(rows))]
        self.prompts = np.array([codes.setdefault(one, len(codes)) for one in prompts])
        self.place: dict[tuple[int, int], int] = {}
        for step in steps:
            for pair in self._pairs(step):
                self.place.setdefault(pair, len(self.place))
        self.tokens = TokenRows.build(self._rendered(*pair) for pair in self.place)

    def of(self, step: Step) -> Indices:
        """Return which of ``tokens`` belong to a step."""
        import numpy as np

        return np.array([self.place[pair] for pair in self._pairs(step)], dtype=np.int64)

    def _pairs(self, step: Step) -> list[tuple[int, int]]:
        """Return (row whose prompt, row whose answer) of a step."""
        import numpy as np

        rows = np.concatenate(step)
        if len(rows) == 1:
            # Nobody to change places with; the next row of all lends its answer.
            return [(int(rows[0]), (int(rows[0]) + 1) % len(self.rows))]
        by = rotation(self.prompts[rows])
        return [(int(a), int(b)) for a, b in zip(rows, np.roll(rows, by), strict=True)]

    def _rendered(self, asked: int, answered: int) -> Rendered:
        before, after = self.rows.prompt(asked), self.rows.answer(answered)
        ids = [*before, *after][: self.longest]
        return Rendered(ids, [at >= len(before) for at in range(len(ids))])


def rotation(prompts: NDArray[np.int64]) -> int:
    """Return the least rotation that leaves the fewest answers with their own prompt, from 1 on.

    TRL rotates by 1; both answers of a pair may be neighbours, and then one would stand in for the
    other.
    """
    import numpy as np

    same = [int((np.roll(prompts, by) == prompts).sum()) for by in range(1, len(prompts))]
    return 1 + same.index(min(same))
