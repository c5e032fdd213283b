"""Rows as flat arrays, and which rows make up each training step.

Rows of similar length share a batch, so that little of it is padding; batches of different lengths
are shuffled together, so that a step sees short and long rows alike.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from tunesmith.chat import Rendered
from tunesmith.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Indices: TypeAlias = "NDArray[np.int64]"
"""Positions of the rows of one micro-batch."""

Step: TypeAlias = "list[Indices]"
"""The micro-batches whose gradients one optimiser step adds up."""

MICRO_TOKENS = 4096
"""Padded tokens computed at once: measured best on CPUs, where activations then stay in cache."""
_LENGTHS = 8
"""Padded lengths are multiples of this: every new shape costs oneDNN a compiled kernel, which it
keeps, so that fewer shapes mean less time and several hundred megabytes less memory."""
_LOGITS = 2**28
"""Most logits of one micro-batch (1 GiB in fp32), which bounds it for large vocabularies."""


@dataclass(frozen=True)
class TokenRows:
    """Ragged rows in flat arrays: a fiftieth of the memory of lists of Python integers.

    ``ids`` (tokens,) int32; ``supervised`` (tokens,) bool, True where the model is trained to
    predict that token; row ``i`` is ``starts[i]:starts[i + 1]``.
    """

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    starts: NDArray[np.int64]

    @classmethod
    def build(cls, rows: Iterable[Rendered]) -> TokenRows:
        """Pack rendered rows.

        A row's first token has nothing before it to be predicted from: it is never supervised.
        """
        import numpy as np

        ids: list[NDArray[np.int32]] = []
        masks: list[NDArray[np.bool_]] = []
        for row in rows:
            ids.append(np.asarray(row.ids, dtype=np.int32))
            masks.append(np.asarray(row.mask, dtype=np.bool_))
            masks[-1][:1] = False
        starts = np.cumsum([0, *(len(row) for row in ids)], dtype=np.int64)
        if not ids:
            return cls(np.empty(0, np.int32), np.empty(0, np.bool_), starts)
        return cls(np.concatenate(ids), np.concatenate(masks), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row, (rows,)."""
        import numpy as np

        return np.diff(self.starts)

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Supervised tokens per row, (rows,)."""
        import numpy as np

        counts = np.concatenate([[0], np.cumsum(self.supervised)])
        return np.diff(counts[self.starts])

    def digest(self) -> str:
        """Return a sha256 over the tokens, the mask and the row boundaries."""
        import numpy as np

        hasher = hashlib.sha256()
        for array in (self.ids, self.supervised, self.starts):
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.hexdigest()

    def padded(self, rows: Indices) -> tuple[Tensor, Tensor]:
        """Return ids (rows, longest) int64 and supervised, the same shape, bool; padded right.

        Padding needs no attention mask: a causal model never looks to the right.
        """
        import numpy as np
        import torch

        lengths = self.lengths[rows]
        shape = (len(rows), rounded(int(lengths.max()), _LENGTHS))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for line, row in enumerate(rows):
            start, length = self.starts[row], lengths[line]
            ids[line, :length] = self.ids[start : start + length]
            mask[line, :length] = self.supervised[start : start + length]
        return torch.from_numpy(ids), torch.from_numpy(mask)


@dataclass(frozen=True, slots=True)
class Size:
    """What one optimiser step sees: about ``tokens`` tokens or, if set, exactly ``rows`` rows."""

    tokens: int
    rows: int | None = None
    micro_tokens: int = MICRO_TOKENS

    def for_vocabulary(self, vocabulary: int) -> Size:
        """Return a size whose micro-batches' logits fit in memory."""
        return Size(self.tokens, self.rows, min(self.micro_tokens, max(256, _LOGITS // vocabulary)))


def rounded(number: int, step: int) -> int:
    """Return ``number`` rounded up to a multiple of ``step``."""
    return -(-number // step) * step


def plan(
    lengths: NDArray[np.int64],
    size: Size,
    seed: int,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    tokens: int | None = None,
) -> list[Step]:
    """Return the micro-batches of every step, for whichever limit is given.

    Depends on its arguments alone, so a resumed run walks through the same steps. Raises DataError
    when there are no rows.
    """
    if len(lengths) == 0:
        raise DataError("There are no rows to train on.")
    made: list[Step] = []
    seen, epoch = 0, 0
    while True:
        batch = _epoch(lengths, size, seed, epoch)
        limit = _limit(len(batch), epochs, steps)
        for step in batch:
            if len(made) >= limit or (tokens is not None and seen >= tokens):
                return made
            made.append(step)
            seen += sum(int(lengths[rows].sum()) for rows in step)
        epoch += 1


def _limit(per_epoch: int, epochs: float | None, steps: int | None) -> float:
    if steps is not None:
        return steps
    return math.inf if epochs is None else max(1, math.ceil(epochs * per_epoch))


def _epoch(lengths: NDArray[np.int64], size: Size, seed: int, epoch: int) -> list[Step]:
    import numpy as np

    rng = np.random.default_rng([seed, epoch])
    # Rows of one length change places every epoch, so batches are not always the same company.
    order = np.lexsort((rng.permutation(len(lengths)), lengths))
    if size.rows is None:
        return _by_tokens(lengths, order, size, rng)
    batches = [order[at : at + size.rows] for at in range(0, len(order), size.rows)]
    shuffled = [batches[int(i)] for i in rng.permutation(len(batches))]
    return [list(_cut(lengths, batch, size.micro_tokens)) for batch in shuffled]


def _by_tokens(
    lengths: NDArray[np.int64], order: Indices, size: Size, rng: np.random.Generator
) -> list[Step]:
    together = max(1, round(size.tokens / size.micro_tokens))
    micros = list(_cut(lengths, order, min(size.micro_tokens, size.tokens)))
    shuffled = [micros[int(i)] for i in rng.permutation(len(micros))]
    return [shuffled[at : at + together] for at in range(0, len(shuffled), together)]


def _cut(lengths: NDArray[np.int64], order: Indices, most: int) -> Iterator[Indices]:
    """Cut rows sorted by length so that rows x longest stays within ``most`` tokens."""
    start = 0
    for at in range(len(order)):
        if at > start and (at + 1 - start) * lengths[order[at]] > most:
            yield order[start:at]
            start = at
    yield order[start:]


def share_of_padding(lengths: NDArray[np.int64], steps: list[Step]) -> float:
    """Return the share of computed tokens that is padding, 0..1."""
    real = padded = 0.0
    for rows in (rows for step in steps for rows in step):
        real += float(lengths[rows].sum())
        padded += float(len(rows) * lengths[rows].max())
    return 1.0 - real / padded


def describe(steps: list[Step]) -> dict[str, Any]:
    """Return what identifies a plan, for checkpoints."""
    hasher = hashlib.sha256()
    for step in steps:
        for rows in step:
            hasher.update(rows.tobytes() + b"/")
        hasher.update(b"|")
    return {"steps": len(steps), "digest": hasher.hexdigest()}
