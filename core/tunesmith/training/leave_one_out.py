"""REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024): whole answers, not tokens.

What is per token is flat (see ``logprobs``); what is per completion is (rows,), and the completions
of one prompt stand together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.training.logprobs import FlatLogprobs
from tunesmith.training.policy import Clip, PolicyLoss, k3

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-4
"""Added to a standard deviation before dividing by it, as in TRL."""


def leave_one_out(rewards: Tensor, size: int) -> Tensor:
    """Return each reward less the mean of the other ones of its group, (rows,).

    ``rewards`` holds groups of ``size`` completions of one prompt, one after another. The baseline
    does not depend on the completion it is taken from, so the gradient stays unbiased.
    """
    groups = rewards.view(-1, size)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (size - 1)
    return (groups - others).flatten()


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """RLOO: better than its siblings, answer by answer; the distance is taken off the reward."""

    clip: Clip
    normalise: bool = False
    """Give a step's advantages mean 0 and deviation 1."""
    reward_range: tuple[float, float] | None = None
    """What rewards are clipped to before anything is taken off."""

    @property
    def asks_reference(self) -> bool:
        """Whether the distance costs anything."""
        return self.clip.beta > 0

    @property
    def charges_drift(self) -> bool:
        """Whether the distance costs anything: it is taken off the reward."""
        return self.clip.beta > 0

    def advantages(self, rewards: Tensor, drift: Tensor | None, size: int) -> Tensor:
        """Return the leave-one-out advantages of reward less beta times drift, (rows,)."""
        if self.reward_range is not None:
            rewards = rewards.clamp(*self.reward_range)
        if drift is not None:
            rewards = rewards - self.clip.beta * drift
        gains = leave_one_out(rewards, size)
        return (gains - gains.mean()) / (gains.std() + _TINY) if self.normalise else gains

    def divisors(self, lengths: Tensor, longest: int) -> Tensor:
        """Return the number of rows: every answer counts alike, however long, (rows,)."""
        return lengths.new_tensor(len(lengths)).expand(len(lengths))

    def loss(
        self,
        now: FlatLogprobs,
        before: Tensor,
        reference: Tensor | None,
        advantages: Tensor,
        divide_by: Tensor,
    ) -> PolicyLoss:
        """Return the clipped loss of whole answers; at the first iteration plain REINFORCE."""
        import torch

        ratio = (now.sums() - now.sums(before)).exp()
        low, high = 1 - self.clip.epsilon, 1 + self.clip.high
        per_row = -torch.minimum(ratio * advantages, ratio.clamp(low, high) * advantages)
        outside = ((ratio < low) & (advantages < 0)) | ((ratio > high) & (advantages > 0))
        tokens = now.sums(torch.ones_like(now.values))
        kl = 0.0 if reference is None else float(k3(now.values.detach(), reference).sum())
        return PolicyLoss((per_row / divide_by).sum(), kl, float((outside * tokens).sum()))
