"""Odds-ratio preference optimisation (Hong, Lee & Thorne 2024): imitate and compare at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from tunesmith import Outcome, TrainingJob, TrainingMethod, hookimpl
from tunesmith.training.hardware import Precision
from tunesmith.training.optimisers import Schedule
from tunesmith.training.pair_training import train_on_pairs
from tunesmith.training.preference import Ties, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.training.preference_losses import Answers


class Orpo(TrainingMethod):
    """Imitate the preferred answer and raise its odds over the other one's; no reference model.

    A newer method: TRL keeps its ORPOTrainer among the experimental ones. Its option `beta` is the
    paper's lambda, here and there.
    """

    name: ClassVar[str] = "orpo"
    rows_type: ClassVar[str] = "preference"
    reference: ClassVar[bool] = False

    beta: float = Field(default=0.1, gt=0)
    """Weight of the odds ratio beside the imitation."""
    ties: Ties = "drop"
    """`soft`: a tie is half a label for each answer; `drop`: leave ties out."""
    weights: Weights = "none"
    """Let pairs count by their annotators' `agreement`, by the number of `labels`, or alike."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each pair is seen."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak rate; for all weights of a large model 5e-7 to 1e-5."""
    batch_size: int = Field(default=16, ge=1)
    """Pairs per optimiser step."""
    warmup: float = Field(default=0.1, ge=0)
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "linear"
    """How the rate falls after that."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively)."""

    def train(self, job: TrainingJob) -> Outcome:
        """Train on preference rows; metrics compare the log-probabilities per token of a pair.

        With ``eval_rows`` the same is said of pairs it has not seen (``eval_*``).
        """
        return train_on_pairs(self, job)

    def losses(self, better: Answers, worse: Answers) -> Tensor:
        """Return the loss of each pair (equations 6 and 7), imitation of the answer only.

        TRL imitates the prompt too.
        """
        from torch.nn.functional import logsigmoid

        ratio = log_odds(better.average) - log_odds(worse.average)
        return -better.average - self.beta * logsigmoid(ratio)

    def rewards(self, answers: Answers) -> Tensor:
        """Return beta times the log-probability per token."""
        return self.beta * answers.average


def log_odds(logprob: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of log-probabilities, precise at both ends."""
    import torch

    # An answer that is certain has infinite odds, and a gradient of NaN.
    logprob = logprob.clamp(max=-1e-6)
    # Maechler 2012: 1 - exp(x) loses its digits near 0, and exp(x) is lost beside 1 far from it.
    near, far = logprob.clamp(min=-0.7), logprob.clamp(max=-0.6)
    rest = torch.where(logprob > -0.6931, (-near.expm1()).log(), (-far.exp()).log1p())
    return logprob - rest


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Orpo]
