"""How far a student's next-token distribution is from its teacher's.

With p the teacher's probabilities and q the student's, in nats per token:

- ``forward_kl``: KL(p || q) = sum p log(p / q) (Hinton et al. 2015, arXiv 1503.02531);
- ``reverse_kl``: KL(q || p) = sum q log(q / p) (Gu et al. 2023, MiniLLM, arXiv 2306.08543);
- ``jsd``: the generalised Jensen-Shannon divergence beta KL(p || m) + (1 - beta) KL(q || m) with
  m = beta p + (1 - beta) q (Agarwal et al. 2024, GKD, arXiv 2306.13649, equation 1). At both ends
  of beta it is 0 for any two distributions; divided by beta, or by 1 - beta, it tends to the
  forward or the reverse KL, which GKD and TRL put there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["forward_kl", "reverse_kl", "jsd"]

CHUNK = 2**24
"""Most logits whose intermediate results are kept at once (64 MiB for each of them in fp32)."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Which divergence, of distributions flattened by ``temperature``.

    ``top_k`` tells the teacher's k likeliest tokens apart and counts all others as one outcome. No
    divergence can grow by that: it is a lower bound, and the value itself when k is the vocabulary.
    """

    kind: Kind = "forward_kl"
    beta: float = 0.5
    temperature: float = 1.0
    top_k: int | None = None

    def total(self, teacher: Tensor, student: Tensor) -> Tensor:
        """Return the divergence summed over positions, a scalar in fp32.

        Both hold logits (positions, vocabulary). A model's embedding may be padded beyond the
        tokenizer; only the ids that both have are compared. Gradients flow to the student. Of
        large vocabularies a few positions are worked out at a time, and again for the gradient, so
        that what is kept beside the logits does not grow with the number of positions.
        """
        import torch
        from torch.utils.checkpoint import checkpoint

        both = min(teacher.shape[-1], student.shape[-1])
        teacher, student = teacher.detach()[:, :both], student[:, :both]
        most = max(1, CHUNK // both)
        if len(teacher) <= most:
            return self._chunk(teacher, student)
        parts = [
            checkpoint(self._chunk, theirs, ours, use_reentrant=False)
            for theirs, ours in zip(_parts(teacher, most), _parts(student, most), strict=True)
        ]
        total: Tensor = torch.stack(parts).sum()
        return total

    def _chunk(self, teacher: Tensor, student: Tensor) -> Tensor:
        theirs = (teacher.float() / self.temperature).log_softmax(dim=-1)
        ours = (student.float() / self.temperature).log_softmax(dim=-1)
        if self.top_k is not None and self.top_k < theirs.shape[-1]:
            chosen = theirs.topk(self.top_k, dim=-1).indices
            theirs, ours = _coarse(theirs, chosen), _coarse(ours, chosen)
        return self._between(theirs, ours)

    def _between(self, theirs: Tensor, ours: Tensor) -> Tensor:
        """Return the summed divergence of log-probabilities, (positions, outcomes) both."""
        import torch

        if self.kind == "forward_kl" or (self.kind == "jsd" and self.beta == 0):
            return _kl(theirs, ours)
        if self.kind == "reverse_kl" or self.beta == 1:
            return _kl(ours, theirs)
        mixed = torch.logaddexp(theirs + math.log(self.beta), ours + math.log1p(-self.beta))
        return self.beta * _kl(theirs, mixed) + (1 - self.beta) * _kl(ours, mixed)


def _parts(logits: Tensor, most: int) -> list[Tensor]:
    return [logits[at : at + most] for at in range(0, len(logits), most)]


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) of log-probabilities, summed over everything."""
    from torch.nn import functional

    return functional.kl_div(q, p, reduction="sum", log_target=True)


def _coarse(logs: Tensor, chosen: Tensor) -> Tensor:
    """Return log-probabilities of the chosen tokens and, last, of all others together."""
    import torch

    # Summed itself: one minus the sum of the chosen ones would lose a small rest to rounding.
    rest = logs.scatter(-1, chosen, -math.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logs.gather(-1, chosen), rest], dim=-1)
