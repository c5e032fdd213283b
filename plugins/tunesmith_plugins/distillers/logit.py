"""Logit distillation: the student learns the teacher's whole next-token distribution.

Soft targets with a temperature are Hinton et al. 2015 (arXiv 1503.02531); the reverse direction, in
which a small student gives up rare answers rather than blurring all of them, is argued for by Gu et
al. 2023 (MiniLLM, arXiv 2306.08543), here per token on given rows rather than on its own samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunesmith import Distiller, ModelError, Outcome, TrainingJob, hookimpl
from tunesmith.chat import fingerprint
from tunesmith.models import context_length, load_model, load_tokenizer, weights_digest
from tunesmith.training import LoopSettings, Size, TokenLoss, evaluate, plan, run_loop
from tunesmith.training.adapting import (
    longest_row,
    save_trained,
    trainable_parameters,
    wrap_model,
)
from tunesmith.training.batches import Indices
from tunesmith.training.encoding import Encoded, encode_rows
from tunesmith.training.hardware import Precision, best_device, computing_dtype
from tunesmith.training.losses import Forward, supervised
from tunesmith.training.optimisers import OptimiserName, Schedule
from tunesmith.training.scratch import Architecture, new_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunesmith.training import TokenRows

Direction = Literal["forward", "reverse"]

_SMALL = Architecture(hidden_size=128, intermediate_size=256, layers=2)


class Logit(Distiller):
    """Teach a student the teacher's token probabilities; both must share one tokenizer."""

    name: ClassVar[str] = "logit"

    student: Architecture = _SMALL
    """Shape of a new student, which takes over the teacher's tokenizer and context; a student that
    is given as a folder keeps its own."""
    direction: Direction = "forward"
    """`forward` covers all the teacher says, `reverse` keeps to what it says most."""
    temperature: float = Field(default=2.0, gt=0)
    """Flattens both distributions, so that unlikely tokens teach too; 1 leaves them as they are."""
    soft: float = Field(default=0.7, ge=0, le=1)
    """Weight of the teacher's distribution; the rest is ordinary cross-entropy on the rows."""
    epochs: float = Field(default=3.0, gt=0)
    """How often each row is seen."""
    steps: int | None = Field(default=None, ge=1)
    """Number of optimiser steps; overrules `epochs`."""
    batch_tokens: int = Field(default=4096, ge=1)
    """About how many tokens an optimiser step sees."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """AdamW's peak rate."""
    optimizer: OptimiserName = "muon"
    """`muon` for the hidden matrices with AdamW for the rest, or `adamw`."""
    muon_learning_rate: float = Field(default=0.003, gt=0)
    """Muon's peak rate, in the scale of an AdamW step."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decay of matrices; norms have none."""
    warmup: float = Field(default=0.03, ge=0)
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "cosine"
    """How the rate falls after that."""
    learn: Literal["completion", "all"] = "completion"
    """Whether the prompt's tokens are learnt too."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively)."""
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the saved weights."""

    def distil(self, teacher: Path, job: TrainingJob) -> Outcome:
        """Train `job.model_dir`, or a new student; ModelError when the tokenizers differ."""
        tokenizer = load_tokenizer(teacher)
        plain, origin, longest = self._student(teacher, job, tokenizer)
        student = wrap_model(job, plain)
        learning = trainable_parameters(student)
        master: Any = load_model(teacher)
        master.to(best_device()).eval()
        data = encode_rows(tokenizer, job.rows, longest, learn_all=self.learn == "all")
        objective = SoftLoss(
            student, master, data.rows, self.direction, self.temperature, self.soft
        )
        size = Size(self.batch_tokens).for_vocabulary(len(tokenizer))
        budget: Any = {"steps": self.steps} if self.steps else {"epochs": self.epochs}
        steps = plan(data.rows.lengths, size, job.seed, **budget)
        key = self._key(job, teacher, origin, data)
        result = run_loop(student, steps, objective, self._settings(), job, key)
        metrics = {
            "loss": result.final_loss,
            "steps": result.steps,
            "tokens": result.tokens,
            "rows": len(data.rows),
            "rows_too_long": data.too_long,
            "trainable_parameters": learning,
            "teacher_parameters": master.num_parameters(),
            "dtype": computing_dtype(self.dtype),
        }
        metrics |= self._validate(job, student, master, tokenizer, longest)
        metrics |= save_trained(job, student, tokenizer, data.rows, self.save_dtype)
        timings = {"seconds": result.seconds, "tokens_per_second": result.tokens_per_second}
        return Outcome(metrics, timings)

    def _student(
        self, teacher: Path, job: TrainingJob, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[PreTrainedModel, str, int]:
        """Return the student, a digest of where it starts, and the longest row for both."""
        longest = context_length(teacher)
        if job.model_dir is None:
            shape = self.student.model_copy(update={"context": longest})
            return new_model(shape, tokenizer, job.seed), shape.model_dump_json(), longest
        if fingerprint(load_tokenizer(job.model_dir)) != fingerprint(tokenizer):
            raise ModelError(
                f"The student {job.model_dir} and the teacher {teacher} have different tokenizers"
                " or chat templates, so their token ids mean different things. Start a new student"
                " (no model_dir), or distil through data: let the teacher write rows for sft."
            )
        return (
            load_model(job.model_dir),
            weights_digest(job.model_dir),
            min(longest, longest_row(job)),
        )

    def _key(self, job: TrainingJob, teacher: Path, origin: str, data: Encoded) -> dict[str, Any]:
        return {
            "method": self.name,
            "rows": data.rows.digest(),
            "origin": origin,
            "teacher": weights_digest(teacher),
            "loss": [self.direction, self.temperature, self.soft],
            "adapter": job.adapter.model_dump_json() if job.adapter else "",
        }

    def _settings(self) -> LoopSettings:
        return LoopSettings(
            learning_rate=self.learning_rate,
            optimiser=self.optimizer,
            muon_learning_rate=self.muon_learning_rate,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            schedule=self.schedule,
            dtype=computing_dtype(self.dtype),
        )

    def _validate(
        self,
        job: TrainingJob,
        student: Any,
        teacher: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        longest: int,
    ) -> dict[str, float]:
        """Measure both on the held-out rows: plain cross-entropy, in nats per token."""
        if not job.eval_rows:
            return {}
        rows = encode_rows(tokenizer, job.eval_rows, longest, learn_all=self.learn == "all").rows
        size = Size(self.batch_tokens).for_vocabulary(len(tokenizer))
        steps = plan(rows.lengths, size, 0, epochs=1.0)
        dtype = computing_dtype(self.dtype)
        return {
            "eval_loss": evaluate(student, steps, TokenLoss(student, rows), dtype),
            "teacher_eval_loss": evaluate(teacher, steps, TokenLoss(teacher, rows), dtype),
            "eval_rows": len(rows),
        }


class SoftLoss(TokenLoss):
    """Cross-entropy on the rows mixed with a divergence from the teacher, summed over tokens."""

    def __init__(
        self,
        student: Any,
        teacher: PreTrainedModel,
        rows: TokenRows,
        direction: Direction,
        temperature: float,
        soft: float,
    ) -> None:
        super().__init__(student, rows)
        self.teacher = Forward(teacher)
        self.direction, self.temperature, self.soft = direction, temperature, soft

    def loss(self, rows: Indices) -> Tensor:
        """Return the summed mixed loss in nats, a scalar in fp32."""
        import torch
        from torch.nn import functional

        ids, targets, chosen = supervised(self.rows, rows, self.forward)
        with torch.no_grad():
            taught = self.teacher.logits(ids, chosen).float()
        logits = self.forward.logits(ids, chosen).float()
        hard = functional.cross_entropy(logits, targets, reduction="sum")
        # The square keeps the gradients' size the same for every temperature (Hinton et al.).
        drift = divergence(taught, logits, self.direction, self.temperature)
        return self.soft * self.temperature**2 * drift + (1 - self.soft) * hard


def divergence(
    teacher: Tensor, student: Tensor, direction: Direction, temperature: float
) -> Tensor:
    """Return KL(teacher || student), or the reverse, summed over rows of logits (n, vocabulary).

    A model's embedding may be padded beyond the tokenizer; only the ids both have are compared.
    """
    from torch.nn import functional

    both = min(teacher.shape[-1], student.shape[-1])
    theirs = functional.log_softmax(teacher[:, :both] / temperature, dim=-1)
    ours = functional.log_softmax(student[:, :both] / temperature, dim=-1)
    target, other = (theirs, ours) if direction == "forward" else (ours, theirs)
    return functional.kl_div(other, target, reduction="sum", log_target=True)


@hookimpl
def register_distillers() -> list[type[Distiller]]:
    """Offer the distiller."""
    return [Logit]
