"""How near a student is to its teacher on given rows: divergence and shared first choices.

Both are measured where the rows' tokens are supervised, without dropout and at temperature 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.generation.reference import evaluating
from tunesmith.training.batches import Size, TokenRows, plan
from tunesmith.training.divergences import CHUNK
from tunesmith.training.losses import Forward, supervised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Nearness:
    """Per row: KL(teacher || student) in nats and shared greedy tokens, both summed, and tokens."""

    kl: NDArray[np.float64]
    agreeing: NDArray[np.int64]
    tokens: NDArray[np.int64]

    def metrics(self, when: str) -> dict[str, float]:
        """Return the means per token, named for before or after the lesson."""
        count = max(1, int(self.tokens.sum()))
        return {
            f"teacher_kl_{when}": float(self.kl.sum()) / count,
            f"teacher_agreement_{when}": int(self.agreeing.sum()) / count,
        }


def nearness(teacher: Forward, student: Forward, rows: TokenRows) -> Nearness:
    """Measure every row, in fp32."""
    import numpy as np

    kl, agreeing = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    size = Size(4096).for_vocabulary(student.inner.config.get_text_config().vocab_size)
    with evaluating(student.model):
        for batch in (batch for step in plan(rows.lengths, size, 0, epochs=1.0) for batch in step):
            gap, same = _positions(teacher, student, rows, batch)
            owner = np.repeat(np.arange(len(batch)), rows.targets[batch])
            kl[batch] = np.bincount(owner, gap, len(batch))
            agreeing[batch] = np.bincount(owner, same, len(batch)).astype(np.int64)
    return Nearness(kl, agreeing, rows.targets)


def _positions(
    teacher: Forward, student: Forward, rows: TokenRows, batch: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return divergence and agreement at each supervised position of a batch, (positions,)."""
    import torch

    ids, _, chosen = supervised(rows, batch, student)
    theirs, ours = teacher.logits(ids, chosen), student.logits(ids, chosen)
    both = min(theirs.shape[-1], ours.shape[-1])
    gaps, same = [], []
    some = max(1, CHUNK // both)
    for at in range(0, len(theirs), some):
        a, b = theirs[at : at + some, :both], ours[at : at + some, :both]
        p, q = a.float().log_softmax(-1), b.float().log_softmax(-1)
        gaps.append((p.exp() * (p - q)).sum(-1))
        same.append(a.argmax(-1) == b.argmax(-1))
    return torch.cat(gaps).double().cpu().numpy(), torch.cat(same).cpu().numpy()
