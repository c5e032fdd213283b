"""Contrastive preference optimisation (Xu et al. 2024): DPO without the reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tunesmith import Outcome, TrainingJob, TrainingMethod, hookimpl
from tunesmith.training.dpo_losses import dpo_loss
from tunesmith.training.hardware import Precision
from tunesmith.training.optimisers import Schedule
from tunesmith.training.pair_training import train_on_pairs
from tunesmith.training.preference import Ties, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.training.preference_losses import Answers


class Cpo(TrainingMethod):
    """Raise the preferred answer above the other one, and imitate it; no reference model.

    A newer method: TRL keeps its CPOTrainer among the experimental ones. Options carry its names.
    """

    name: ClassVar[str] = "cpo"
    rows_type: ClassVar[str] = "preference"
    reference: ClassVar[bool] = False

    beta: float = Field(default=0.1, gt=0)
    """How much a difference in log-probability weighs."""
    cpo_alpha: float = Field(default=1.0, ge=0)
    """Weight of imitating the preferred answer, which keeps it from getting less likely too."""
    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """`sigmoid` (CPO), `hinge` (SLiC) or `ipo` (averaged over tokens)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that a label is wrong."""
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
        """Train on preference rows; metrics compare the log-probabilities of a pair.

        With ``eval_rows`` the same is said of pairs it has not seen (``eval_*``).
        """
        return train_on_pairs(self, job)

    def losses(self, better: Answers, worse: Answers) -> Tensor:
        """Return the loss of each pair (equation 3 and the imitation beside it, per token).

        It is DPO's against a reference that finds every answer alike.
        """
        how, smoothing = self.loss_type, self.label_smoothing
        compared = dpo_loss(better, worse, loss=how, beta=self.beta, smoothing=smoothing)
        return compared - self.cpo_alpha * better.average

    def rewards(self, answers: Answers) -> Tensor:
        """Return beta times the log-probability of each answer."""
        return self.beta * answers.logprob


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Cpo]
