"""Log-probabilities of the supervised tokens of many rows, flat: no padding, no masks.

``values[k]`` belongs to row ``owner[k]`` of the batch; a row's tokens stand together, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.training.batches import Indices, TokenRows
from tunesmith.training.losses import Forward, supervised

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class FlatLogprobs:
    """Log-probabilities in nats, (tokens,), and which row of the batch each is of, (tokens,)."""

    values: Tensor
    owner: Tensor
    rows: int
    entropy: Tensor | None = None
    """Entropy of the distribution each token was drawn from, in nats, detached, (tokens,)."""

    def sums(self, per_token: Tensor | None = None) -> Tensor:
        """Add up per row, (rows,): the log-probabilities, or something else per token."""
        what = self.values if per_token is None else per_token
        return what.new_zeros(self.rows).index_add(0, self.owner, what)


def logprobs(
    forward: Forward,
    rows: TokenRows,
    batch: Indices,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
) -> FlatLogprobs:
    """Return what the model gives the supervised tokens of a batch; gradients flow through."""
    import torch

    ids, targets, chosen = supervised(rows, batch, forward)
    logits = forward.logits(ids, chosen).float() / temperature
    log_all = logits.log_softmax(dim=-1)
    values = log_all.gather(1, targets[:, None]).squeeze(1)
    owner = torch.arange(len(batch)).repeat_interleave(torch.from_numpy(rows.targets[batch]))
    spread = -(log_all.detach().exp() * log_all.detach()).sum(dim=-1) if entropy else None
    return FlatLogprobs(values, owner.to(values.device), len(batch), spread)


def sequence_logprobs(
    forward: Forward, rows: TokenRows, batches: Sequence[Indices]
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the summed log-probability of every row in the batches, (all rows,), no gradients."""
    import numpy as np
    import torch

    totals = np.zeros(len(rows), dtype=np.float32)
    with torch.no_grad():
        for batch in batches:
            totals[batch] = logprobs(forward, rows, batch).sums().cpu().numpy()
    return totals


def token_divergence(
    policy: Forward, reference: Forward, rows: TokenRows, batches: Sequence[Indices]
) -> float:
    """Return the mean over supervised tokens of KL(policy, reference), exact, in nats."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            ids, targets, chosen = supervised(rows, batch, policy)
            ours = policy.logits(ids, chosen).float().log_softmax(dim=-1)
            theirs = reference.logits(ids, chosen).float().log_softmax(dim=-1)
            total += float((ours.exp() * (ours - theirs)).sum())
            count += len(targets)
    return total / count
