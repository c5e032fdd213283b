"""The losses of direct preference optimisation, under the names TRL 1.16 has for them.

Each takes the better and the worse answers of some pairs and returns the loss of each, (pairs,).
What an answer's probability gained over the reference, in nats, is its ``moved``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from tunesmith.training.preference_losses import Answers, soft

if TYPE_CHECKING:
    from torch import Tensor

    Plain = Callable[[Answers, Answers, float], Tensor]

Loss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "apo_zero", "apo_down"
]


def dpo_loss(
    better: Answers,
    worse: Answers,
    *,
    loss: Loss = "sigmoid",
    beta: float = 0.1,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the loss of each pair, (pairs,); ``smoothing`` is the chance that a label is wrong.

    ``robust`` and ``exo_pair`` have a use of their own for it. The others become their expectation
    over right and wrong labels (for ``sigmoid`` conservative DPO, Mitchell 2023).
    """
    if loss == "robust":
        return robust(better, worse, beta, smoothing)
    if loss == "exo_pair":
        return exo_pair(better, worse, beta, smoothing)
    plain = PLAIN[loss]
    right = plain(better, worse, beta)
    return soft(right, plain(worse, better, beta), 1 - smoothing) if smoothing else right


def sigmoid(better: Answers, worse: Answers, beta: float) -> Tensor:
    """DPO's own (Rafailov et al. 2023, equation 7)."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * (better.moved - worse.moved))


def sigmoid_norm(better: Answers, worse: Answers, beta: float) -> Tensor:
    """The same, averaged over an answer's tokens, so that length alone moves nothing."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * (better.moved / better.tokens - worse.moved / worse.tokens))


def hinge(better: Answers, worse: Answers, beta: float) -> Tensor:
    """SLiC's (Zhao et al. 2023): no pull once the lead is 1 / beta."""
    return (1 - beta * (better.moved - worse.moved)).relu()


def ipo(better: Answers, worse: Answers, beta: float) -> Tensor:
    """IPO (Azar et al. 2023, equation 17): a lead of 1 / (2 beta) and no more, per token.

    The average over tokens is what its authors computed with.
    """
    gap = better.moved / better.tokens - worse.moved / worse.tokens
    return (gap - 1 / (2 * beta)) ** 2


def apo_zero(better: Answers, worse: Answers, beta: float) -> Tensor:
    """APO-zero (D'Oosterlinck et al. 2024, equation 7): the better up, the worse down."""
    return 1 - (beta * better.moved).sigmoid() + (beta * worse.moved).sigmoid()


def apo_down(better: Answers, worse: Answers, beta: float) -> Tensor:
    """APO-down (the same, equation 8): both down, the worse further.

    For a model that is better than even the better answers of its pairs.
    """
    gap = better.moved - worse.moved
    return (beta * better.moved).sigmoid() + 1 - (beta * gap).sigmoid()


def robust(better: Answers, worse: Answers, beta: float, flipped: float) -> Tensor:
    """Robust DPO (Chowdhury et al. 2024): unbiased when a share ``flipped`` of labels is wrong."""
    right, wrong = sigmoid(better, worse, beta), sigmoid(worse, better, beta)
    return ((1 - flipped) * right - flipped * wrong) / (1 - 2 * flipped)


def exo_pair(better: Answers, worse: Answers, beta: float, floor: float) -> Tensor:
    """EXO for pairs (Ji et al. 2024, equation 16): the reverse KL to labels that leave ``floor``.

    ``floor`` is the chance left to the worse answer, above 0.
    """
    log_better, log_worse = -sigmoid(better, worse, beta), -sigmoid(worse, better, beta)
    return log_better.exp() * (log_better - math.log1p(-floor)) + log_worse.exp() * (
        log_worse - math.log(floor)
    )


PLAIN: Mapping[str, Plain] = {
    "sigmoid": sigmoid,
    "sigmoid_norm": sigmoid_norm,
    "hinge": hinge,
    "ipo": ipo,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
}
"""The losses without a parameter for wrong labels."""
