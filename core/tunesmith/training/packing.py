"""Documents cut and packed to sequences of a bounded length."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tunesmith.training.batches import TokenRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def fit_documents(rows: TokenRows, sequence: int, packed: float, seed: int) -> TokenRows:
    """Return rows of at most ``sequence`` tokens.

    A share ``packed`` of the documents is laid end to end and cut into full sequences, which
    teaches every position and what a boundary looks like; the rest stand alone, as prompts do when
    the model is used, and are cut only where one is too long.
    """
    import numpy as np

    chosen = np.random.default_rng([seed, 0x9ACC]).random(len(rows)) < packed
    # Laid out in shuffled order, or neighbours in the file would always share a sequence.
    together = np.random.default_rng([seed, 0x0DE2]).permutation(np.flatnonzero(chosen))
    stream = _gather(rows, together)
    alone = _gather(rows, np.flatnonzero(~chosen))
    cuts = [_windows(0, len(stream), sequence)]
    bounds = np.concatenate([[0], np.cumsum(rows.lengths[~chosen])]) + len(stream)
    cuts += [_windows(a, b, sequence) for a, b in pairwise(bounds)]
    starts = np.concatenate([*cuts, [len(stream) + len(alone)]]).astype(np.int64)
    return _whole_rows(np.concatenate([stream, alone]), starts)


def _gather(rows: TokenRows, order: NDArray[np.int64]) -> NDArray[np.int32]:
    import numpy as np

    parts = [rows.ids[rows.starts[i] : rows.starts[i + 1]] for i in order]
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _windows(start: int, end: int, length: int) -> NDArray[np.int64]:
    import numpy as np

    return np.arange(start, end, length, dtype=np.int64)


def _whole_rows(ids: NDArray[np.int32], starts: NDArray[np.int64]) -> TokenRows:
    """Return rows in which everything but each first token is supervised; one-token rows go."""
    import numpy as np

    supervised = np.ones(len(ids), np.bool_)
    supervised[starts[:-1]] = False
    keep = np.diff(starts) > 1
    kept = np.repeat(keep, np.diff(starts))
    lengths = np.diff(starts)[keep]
    return TokenRows(
        ids[kept], supervised[kept], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    )
