"""Direct preference optimisation (Rafailov et al. 2023): learn from pairs, without a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from tunesmith import Outcome, TrainingJob, TrainingMethod, hookimpl
from tunesmith.training.dpo_losses import Loss, dpo_loss
from tunesmith.training.hardware import Precision
from tunesmith.training.optimisers import Schedule
from tunesmith.training.pair_training import train_on_pairs
from tunesmith.training.preference import Ties, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.training.preference_losses import Answers


class Dpo(TrainingMethod):
    """Raise the preferred answer above the other one, relative to the model it started from."""

    name: ClassVar[str] = "dpo"
    rows_type: ClassVar[str] = "preference"
    reference: ClassVar[bool] = True

    beta: float = Field(default=0.1, gt=0)
    """How dear it is to leave the starting model."""
    loss_type: Loss = "sigmoid"
    """`sigmoid` (DPO), `sigmoid_norm` (averaged over tokens), `hinge` (SLiC), `ipo` (averaged over
    tokens), `robust` and `exo_pair` (labels that may be wrong), `apo_zero` and `apo_down` (answers
    better, or worse, than what the model writes by itself)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that a label is wrong: conservative DPO with `sigmoid`, unbiased with `robust`;
    `exo_pair` needs it above 0, its authors take 1e-3."""
    ties: Ties = "soft"
    """`soft`: a tie is half a label for each answer; `drop`: leave ties out."""
    weights: Weights = "none"
    """Let pairs count by their annotators' `agreement`, by the number of `labels`, or alike."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each pair is seen."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak rate; for all weights of a large model 5e-7 to 5e-6."""
    batch_size: int = Field(default=16, ge=1)
    """Pairs per optimiser step."""
    warmup: float = Field(default=0.1, ge=0)
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "linear"
    """How the rate falls after that."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively)."""

    @model_validator(mode="after")
    def _leaves_something(self) -> Dpo:
        if self.loss_type == "exo_pair" and self.label_smoothing == 0:
            raise ValueError(
                "loss_type exo_pair needs label_smoothing above 0; its authors take 1e-3"
            )
        return self

    def train(self, job: TrainingJob) -> Outcome:
        """Train on preference rows; metrics say how far apart the answers of a pair are after it.

        With ``eval_rows`` the same is said of pairs it has not seen (``eval_*``).
        """
        return train_on_pairs(self, job)

    def losses(self, better: Answers, worse: Answers) -> Tensor:
        """Return the loss of each pair, see `dpo_losses`."""
        how, smoothing = self.loss_type, self.label_smoothing
        return dpo_loss(better, worse, loss=how, beta=self.beta, smoothing=smoothing)

    def rewards(self, answers: Answers) -> Tensor:
        """Return beta times what each answer gained over the reference, in nats."""
        return self.beta * answers.moved


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Dpo]
