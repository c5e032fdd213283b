"""Supervised fine-tuning on prompts and their completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunesmith import ModelError, Outcome, TrainingJob, TrainingMethod, hookimpl
from tunesmith.models import load_model, load_tokenizer, weights_digest
from tunesmith.training import Size
from tunesmith.training.adapting import longest_row, wrap_model
from tunesmith.training.encoding import encode_rows
from tunesmith.training.hardware import Precision
from tunesmith.training.optimisers import OptimiserName, Schedule
from tunesmith.training.supervised import Lesson, learn_rows

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel


class Sft(TrainingMethod):
    """Learn to answer as the completions do."""

    name: ClassVar[str] = "sft"
    rows_type: ClassVar[str] = "prompt-completion"

    epochs: float = Field(default=3.0, gt=0)
    """How often each row is seen."""
    steps: int | None = Field(default=None, ge=1)
    """Number of optimiser steps; overrules `epochs`."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak rate; LoRA likes 2e-4 to 2e-3, all weights of a large model 1e-5 to 5e-5."""
    batch_tokens: int = Field(default=4096, ge=1)
    """About how many tokens an optimiser step sees."""
    batch_size: int | None = Field(default=None, ge=1)
    """Rows per optimiser step; overrules `batch_tokens`."""
    max_length: int | None = Field(default=None, ge=2)
    """Longest row, in tokens; None: the model's context. Longer rows are dropped and counted."""
    learn: Literal["completion", "all"] = "completion"
    """Whether the prompt's tokens are learnt too."""
    warmup: float = Field(default=0.03, ge=0)
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "cosine"
    """How the rate falls after that."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of matrices; norms and biases have none."""
    optimizer: OptimiserName = "adamw"
    """`adamw`, or `muon` for the hidden matrices with AdamW for the rest."""
    muon_learning_rate: float = Field(default=0.002, gt=0)
    """Muon's peak rate."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively)."""
    recompute: bool = False
    """Compute activations again in the backward pass: about a third slower, far less memory."""
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the saved weights; adapters are always merged in fp32 first."""

    def train(self, job: TrainingJob) -> Outcome:
        """Train `job.model_dir`; writes a plain model, plus `adapter/` where there is one."""
        if job.model_dir is None:
            raise ModelError("sft needs a model to start from; pretrain makes one from nothing.")
        tokenizer = load_tokenizer(job.model_dir)
        longest = self._longest(job)
        lesson = Lesson(
            model=wrap_model(job, self._load(job.model_dir)),
            tokenizer=tokenizer,
            origin=weights_digest(job.model_dir),
            data=encode_rows(tokenizer, job.rows, longest, learn_all=self.learn == "all"),
            size=Size(self.batch_tokens, self.batch_size).for_vocabulary(len(tokenizer)),
            longest=longest,
        )
        return learn_rows(self, lesson, job)

    def _load(self, folder: Path) -> PreTrainedModel:
        model: Any = load_model(folder)
        if self.recompute:
            # The other kind gives frozen inputs (LoRA) no gradient.
            model.gradient_checkpointing_enable({"use_reentrant": False})
        loaded: PreTrainedModel = model
        return loaded

    def _longest(self, job: TrainingJob) -> int:
        context = longest_row(job)
        if self.max_length is not None and self.max_length > context:
            raise ModelError(
                f"max_length is {self.max_length}, and {job.model_dir} reads at most {context}"
                " tokens."
            )
        return self.max_length or context


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Sft]
