"""Policy optimisation: what its kinds must say, and GRPO's advantages and clipped loss.

What is per token is flat (see ``logprobs``); what is per completion is (rows,), and the completions
of one prompt stand together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from tunesmith.training.logprobs import FlatLogprobs

if TYPE_CHECKING:
    from torch import Tensor

Scale = Literal["group", "batch", "none"]
Normalise = Literal["grpo", "bnpo", "dr_grpo"]
_TINY = 1e-4
"""Added to a standard deviation before dividing by it, as in TRL."""


@dataclass(frozen=True, slots=True)
class Clip:
    """How the policy may move: ratio limits, and the weight of the distance to the reference."""

    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.04

    @property
    def high(self) -> float:
        """The upper limit (decoupled in DAPO, Yu et al. 2025; the same as below by default)."""
        return self.epsilon if self.epsilon_high is None else self.epsilon_high


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """One micro-batch: its share of the step's loss, and sums over its tokens to watch."""

    loss: Tensor
    kl: float
    clipped: float


class PolicyObjective(Protocol):
    """What one kind of policy optimisation makes of rewards."""

    @property
    def asks_reference(self) -> bool:
        """Whether it depends on the model the policy started from."""
        ...

    @property
    def charges_drift(self) -> bool:
        """Whether an answer's reward depends on how far the policy has drifted with it."""
        ...

    def advantages(self, rewards: Tensor, drift: Tensor | None, size: int) -> Tensor:
        """Return how good each completion is, (rows,), from rewards in groups of ``size``.

        ``drift`` is the completions' log policy/reference in nats, where ``charges_drift``.
        """
        ...

    def divisors(self, lengths: Tensor, longest: int) -> Tensor:
        """Return what each row's summed loss is divided by, (rows,), for all rows of a step."""
        ...

    def loss(
        self,
        now: FlatLogprobs,
        before: Tensor,
        reference: Tensor | None,
        advantages: Tensor,
        divide_by: Tensor,
    ) -> PolicyLoss:
        """Return the loss of some rows, see `policy_loss`."""
        ...


@dataclass(frozen=True, slots=True)
class GroupRelative:
    """GRPO (Shao et al. 2024): better than its group, token by token; distance in the loss."""

    clip: Clip
    normalise: Normalise = "dr_grpo"
    scale: Scale = "group"

    @property
    def asks_reference(self) -> bool:
        """Whether the distance costs anything."""
        return self.clip.beta > 0

    @property
    def charges_drift(self) -> bool:
        """Never: the distance is in the loss."""
        return False

    def advantages(self, rewards: Tensor, drift: Tensor | None, size: int) -> Tensor:
        """Return the rewards relative to their groups, (rows,)."""
        return group_advantages(rewards, size, self.scale)

    def divisors(self, lengths: Tensor, longest: int) -> Tensor:
        """Return what each row's summed loss is divided by, (rows,)."""
        return divisors(lengths, self.normalise, longest)

    def loss(
        self,
        now: FlatLogprobs,
        before: Tensor,
        reference: Tensor | None,
        advantages: Tensor,
        divide_by: Tensor,
    ) -> PolicyLoss:
        """Return the clipped loss per token with the distance added."""
        return policy_loss(now, before, reference, advantages, divide_by, self.clip)


def group_advantages(rewards: Tensor, size: int, scale: Scale = "group") -> Tensor:
    """Return how much better each completion is than its group (Shao et al. 2024), (rows,).

    ``rewards`` holds groups of ``size`` completions of one prompt, one after another. ``scale``
    divides by the group's standard deviation, the batch's, or (Dr. GRPO, Liu et al. 2025) by none.
    """
    groups = rewards.view(-1, size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    if scale == "group":
        centred = centred / (groups.std(dim=1, keepdim=True) + _TINY)
    elif scale == "batch":
        centred = centred / (rewards.std() + _TINY)
    return centred.flatten()


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """Return Schulman's unbiased, never negative estimate of KL(policy, reference) per token."""
    gap = reference - policy
    return gap.exp() - gap - 1


def policy_loss(
    now: FlatLogprobs,
    before: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    divide_by: Tensor,
    clip: Clip,
) -> PolicyLoss:
    """Return the clipped policy-gradient loss with the distance to the reference added.

    ``before`` and ``reference`` are log-probabilities of the same tokens as ``now``'s, (tokens,);
    ``advantages`` and ``divide_by`` (see ``divisors``) are (rows,).
    """
    import torch

    gain = advantages[now.owner]
    ratio = (now.values - before).exp()
    limited = ratio.clamp(1 - clip.epsilon, 1 + clip.high)
    per_token = -torch.minimum(ratio * gain, limited * gain)
    kl = torch.zeros_like(per_token) if reference is None else k3(now.values, reference)
    outside = ((ratio < 1 - clip.epsilon) & (gain < 0)) | ((ratio > 1 + clip.high) & (gain > 0))
    return PolicyLoss(
        loss=(now.sums(per_token + clip.beta * kl) / divide_by).sum(),
        kl=float(kl.detach().sum()),
        clipped=float(outside.sum()),
    )


def divisors(lengths: Tensor, how: Normalise, longest: int) -> Tensor:
    """Return what each row's summed loss is divided by, (rows,), for all rows of one step.

    ``grpo`` gives every completion the same say, ``bnpo`` every token of the batch, ``dr_grpo``
    every token of the longest possible completion (free of a bias towards long wrong answers).
    """
    rows = float(len(lengths))
    if how == "grpo":
        return lengths.clamp(min=1) * rows
    total = lengths.sum().clamp(min=1) if how == "bnpo" else lengths.new_tensor(rows * longest)
    return total.expand(len(lengths))
