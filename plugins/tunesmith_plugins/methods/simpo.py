"""Simple preference optimisation (Meng, Xia & Chen 2024): what is likely per token, by a margin."""

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


class Simpo(TrainingMethod):
    """Raise the preferred answer's mean log-probability above the other's; no reference model.

    A newer method: TRL has it as `loss_type: simpo` of its experimental CPOTrainer, whose names for
    the options these are (its `cpo_alpha` is 1 unless told otherwise, SimPO's own is 0).
    """

    name: ClassVar[str] = "simpo"
    rows_type: ClassVar[str] = "preference"
    reference: ClassVar[bool] = False

    beta: float = Field(default=2.0, gt=0)
    """How much a difference in log-probability per token weighs; 2 to 10."""
    simpo_gamma: float = Field(default=1.0, ge=0)
    """Lead in reward the preferred answer shall have; about half of beta."""
    cpo_alpha: float = Field(default=0.0, ge=0)
    """Weight of imitating the preferred answer besides (CPO-SimPO); 0 is SimPO."""
    ties: Ties = "drop"
    """`soft`: a tie is half a label for each answer; `drop`: leave ties out."""
    weights: Weights = "none"
    """Let pairs count by their annotators' `agreement`, by the number of `labels`, or alike."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each pair is seen."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak rate; for all weights of a large model 5e-7 to 1e-6."""
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
        """Return the loss of each pair (equation 6)."""
        from torch.nn.functional import logsigmoid

        lead = self.rewards(better) - self.rewards(worse) - self.simpo_gamma
        return -logsigmoid(lead) - self.cpo_alpha * better.average

    def rewards(self, answers: Answers) -> Tensor:
        """Return beta times the log-probability per token (equation 4)."""
        return self.beta * answers.average


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Simpo]
