"""Losses of pairs whose labels are soft.

``p`` is the share of labels for ``chosen``, a tie counts half. With p = 1 every loss here is the
published one; between, it is its expectation over the labels. All tensors are (pairs,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Answers:
    """What a policy and the model it started from give some answers; all tensors (answers,)."""

    logprob: Tensor
    """Log-probability of the whole answer, in nats."""
    reference: Tensor
    """The same of the starting model; 0 for methods that do not ask it."""
    tokens: Tensor
    """How many tokens the answer has, its end of turn included."""

    @property
    def moved(self) -> Tensor:
        """What the answer gained since the start, in nats."""
        return self.logprob - self.reference

    @property
    def average(self) -> Tensor:
        """Log-probability per token."""
        return self.logprob / self.tokens


def soft(loss_if_chosen: Tensor, loss_if_rejected: Tensor, p: Tensor | float) -> Tensor:
    """Return the expectation of a loss over the labels of each pair."""
    return p * loss_if_chosen + (1 - p) * loss_if_rejected


def bradley_terry_loss(gap: Tensor, p: Tensor, margin: float = 0.0) -> Tensor:
    """Return -log sigmoid(gap - margin) per pair (Bradley & Terry 1952; Ouyang et al. 2022).

    ``gap`` is the reward of chosen minus that of rejected, (pairs,). A ``margin`` asks for that
    much more in whichever direction a label points.
    """
    from torch.nn.functional import logsigmoid

    return soft(-logsigmoid(gap - margin), -logsigmoid(-gap - margin), p)


def rao_kupper_loss(gap: Tensor, p: Tensor, tied: Tensor, threshold: float) -> Tensor:
    """Return the negative log-likelihood of labels with ties, per pair (Rao & Kupper 1967).

    ``tied`` is the share of ties among the labels; ``threshold`` > 0 is how far apart, in reward,
    two answers may be and still be called equal.
    """
    from torch.nn.functional import logsigmoid

    wins, losses = p - tied / 2, 1 - p - tied / 2
    decided = -wins * logsigmoid(gap - threshold) - losses * logsigmoid(-gap - threshold)
    # P(tie) = 1 - P(win) - P(loss) = sigmoid(t + gap) sigmoid(t - gap) (1 - exp(-2 t))
    level = math.log(-math.expm1(-2 * threshold))
    return decided - tied * (logsigmoid(threshold + gap) + logsigmoid(threshold - gap) + level)
