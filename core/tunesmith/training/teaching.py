"""Teacher and student as distillation needs them, and the loss of learning from distributions.

The teacher is asked about one micro-batch at a time, right before the student: none of its logits
outlive that, so memory does not grow with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.models import context_length, load_model, load_tokenizer, weights_digest
from tunesmith.records import TrainingJob
from tunesmith.training.adapting import longest_row, wrap_model
from tunesmith.training.batches import Indices, TokenRows
from tunesmith.training.divergences import Divergence
from tunesmith.training.hardware import best_device
from tunesmith.training.losses import Forward, TokenLoss, supervised
from tunesmith.training.scratch import Architecture, new_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Pupil:
    """A student ready to learn."""

    model: Any
    """With the job's adapter, if any, on the best device."""
    tokenizer: PreTrainedTokenizerBase
    origin: str
    """A digest of where its weights start."""
    longest: int
    """Most tokens a row may have."""


def open_pupil(job: TrainingJob, teacher: Path, shape: Architecture | None) -> Pupil:
    """Return `job.model_dir` as a student, or a new one of ``shape``.

    A new student takes over the teacher's tokenizer and context. ``shape`` None: there must be a
    folder.
    """
    if job.model_dir is None and shape is not None:
        tokenizer, context = load_tokenizer(teacher), context_length(teacher)
        shape = shape.model_copy(update={"context": context})
        plain = new_model(shape, tokenizer, job.seed)
        return Pupil(wrap_model(job, plain), tokenizer, shape.model_dump_json(), context)
    longest, folder = longest_row(job), job.model_dir
    assert folder is not None, "longest_row refuses a job without a model"
    model = wrap_model(job, load_model(folder))
    return Pupil(model, load_tokenizer(folder), weights_digest(folder), longest)


def open_teacher(folder: Path) -> PreTrainedModel:
    """Return the teacher, frozen, without dropout, on the best device."""
    import torch

    teacher = load_model(folder)  # in evaluation mode already
    teacher.requires_grad_(False)
    torch.nn.Module.to(teacher, best_device())
    return teacher


class SoftLoss(TokenLoss):
    """A divergence from the teacher mixed with cross-entropy on the rows, summed over tokens.

    ``soft`` is the divergence's weight; the rest is cross-entropy, none of it at 1.
    """

    def __init__(
        self,
        student: Any,
        teacher: PreTrainedModel,
        rows: TokenRows,
        divergence: Divergence,
        soft: float = 1.0,
    ) -> None:
        super().__init__(student, rows)
        self.teacher = Forward(teacher)
        self.divergence, self.soft = divergence, soft

    def loss(self, rows: Indices) -> Tensor:
        """Return the summed mixed loss in nats, a scalar in fp32."""
        import torch
        from torch.nn import functional

        ids, targets, chosen = supervised(self.rows, rows, self.forward)
        with torch.no_grad():
            taught = self.teacher.logits(ids, chosen)
        logits = self.forward.logits(ids, chosen)
        # The square keeps the gradients' size the same for every temperature (Hinton et al.).
        weight = self.soft * self.divergence.temperature**2
        drift = weight * self.divergence.total(taught, logits)
        if self.soft == 1:
            return drift
        hard = functional.cross_entropy(logits.float(), targets, reduction="sum")
        return drift + (1 - self.soft) * hard
