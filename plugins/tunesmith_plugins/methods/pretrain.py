"""Language-model pre-training, from nothing or from a given model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith import DataError, ModelError, Outcome, TrainingJob, TrainingMethod, hookimpl
from tunesmith.chat import fingerprint
from tunesmith.models import (
    context_length,
    load_model,
    load_tokenizer,
    weights_digest,
)
from tunesmith.training import LoopSettings, Size, TokenLoss, evaluate, plan, run_loop
from tunesmith.training.adapting import save_trained, wrap_model
from tunesmith.training.encoding import encode_rows
from tunesmith.training.hardware import Precision, can_compile, computing_dtype
from tunesmith.training.optimisers import OptimiserName, Schedule
from tunesmith.training.packing import fit_documents
from tunesmith.training.scratch import (
    Architecture,
    new_model,
    read_tokenizer,
    store_tokenizer,
    train_tokenizer,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunesmith.training import TokenRows


class Pretrain(TrainingMethod):
    """Learn to continue documents; trains the tokenizer too when it starts from nothing."""

    name: ClassVar[str] = "pretrain"
    rows_type: ClassVar[str] = "language-modelling"

    architecture: Architecture = Architecture()
    """The new model's shape; a given model keeps its own."""
    tokens: int | None = None
    """How many tokens to learn from, repeating the rows as needed; None: see `steps`."""
    steps: int | None = None
    """How many optimiser steps; None together with `tokens`: each row once."""
    batch_tokens: int = 4096
    """Tokens per optimiser step."""
    micro_tokens: int = 1024
    """Tokens computed at once. Rows of one length share a micro-batch, and rows of one length are
    often of one kind: several micro-batches per step keep its gradient from leaning to one side."""
    compile: bool = False
    """Fuse the model's operations with `torch.compile`; needs a C++ compiler on CPUs. Two runs may
    then differ in the last bits, and so in their files."""
    sequence: int = 512
    """Longest training sequence, in tokens."""
    packed: float = 0.25
    """Share of documents laid end to end into full sequences; the others stand alone."""
    optimizer: OptimiserName = "muon"
    """`muon` for the hidden matrices (the rest has AdamW), or AdamW for all."""
    learning_rate: float = 1.5e-3
    """AdamW's peak rate."""
    muon_learning_rate: float = 0.002
    """Muon's peak rate, in the scale of an AdamW step. Rates that grow the matrices without end
    saturate attention, and nothing is looked up any more (see docs/decisions.md)."""
    weight_decay: float = 0.1
    """Decay of matrices; norms have none."""
    warmup: float = 0.02
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "trapezoid"
    """How the rate falls after that; `trapezoid` falls in the last 40 % of the steps."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively); master
    weights are fp32, the saved ones bf16."""

    def problems(self) -> list[str]:
        """Refuse two budgets at once and sequences longer than the context."""
        found = []
        if self.tokens is not None and self.steps is not None:
            found.append("pretrain: give tokens or steps, not both.")
        if self.sequence > self.architecture.context:
            found.append(
                f"pretrain: sequence ({self.sequence}) exceeds the context"
                f" ({self.architecture.context})."
            )
        if self.compile and not can_compile():
            found.append(
                "pretrain.compile needs a C++ compiler and finds none."
                " Install g++ or clang++, or set compile: false."
            )
        return found

    def train(self, job: TrainingJob) -> Outcome:
        """Train and save in bf16; metrics say loss, perplexity, tokens and parameters."""
        if found := self.problems():
            raise ModelError(" ".join(found))
        tokenizer, plain, origin = self._start(job)
        model = wrap_model(job, plain)
        rows = self._rows(job, tokenizer)
        size = Size(self.batch_tokens, micro_tokens=self.micro_tokens)
        size = size.for_vocabulary(len(tokenizer))
        steps = plan(rows.lengths, size, job.seed, **self._budget())
        objective = TokenLoss(model, rows, compiled=self.compile)
        key = {"method": self.name, "rows": rows.digest(), "origin": origin}
        key["adapter"] = job.adapter.model_dump_json() if job.adapter else ""
        result = run_loop(model, steps, objective, self._settings(), job, key)
        metrics: dict[str, Any] = {
            "loss": result.final_loss,
            "tokens": result.tokens,
            "steps": result.steps,
            "parameters": model.num_parameters(),
            "documents": len(job.rows),
            "dtype": computing_dtype(self.dtype),
        }
        metrics |= save_trained(job, model, tokenizer, rows, dtype="bfloat16")
        metrics |= self._validate(job, tokenizer)
        return Outcome(
            metrics,
            {"seconds": result.seconds, "tokens_per_second": result.tokens_per_second},
        )

    def _budget(self) -> dict[str, Any]:
        if self.tokens is None and self.steps is None:
            return {"epochs": 1.0}
        return {"tokens": self.tokens, "steps": self.steps}

    def _start(self, job: TrainingJob) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, str]:
        """Return tokenizer, model and a digest of where the weights start."""
        if job.model_dir is not None:
            self._check_length(job.model_dir)
            return (
                load_tokenizer(job.model_dir),
                load_model(job.model_dir),
                weights_digest(job.model_dir),
            )
        tokenizer = self._new_tokenizer(job)
        shape = self.architecture.model_dump_json()
        return (
            tokenizer,
            new_model(self.architecture, tokenizer, job.seed),
            f"{shape} {fingerprint(tokenizer)}",
        )

    def _check_length(self, folder: Path) -> None:
        if self.sequence > context_length(folder):
            raise ModelError(
                f"sequence is {self.sequence}, and {folder} reads at most"
                f" {context_length(folder)} tokens. Lower sequence."
            )

    def _new_tokenizer(self, job: TrainingJob) -> PreTrainedTokenizerBase:
        # Kept in the work folder: a resumed run must not depend on training it again.
        kept = job.work / "tokenizer"
        if not kept.is_dir():
            texts = [_text(row, number) for number, row in enumerate(job.rows)]
            shape = self.architecture
            store_tokenizer(train_tokenizer(texts, shape.vocab_size, shape.context), kept)
        return read_tokenizer(kept)

    def _rows(self, job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> TokenRows:
        documents = encode_rows(tokenizer, job.rows, learn_all=True).rows
        return fit_documents(documents, self.sequence, self.packed, job.seed)

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

    def _validate(self, job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
        """Measure what was saved, rounded as it is, on the held-out rows, each document alone."""
        if not job.eval_rows:
            return {}
        model = load_model(job.out)
        documents = encode_rows(tokenizer, job.eval_rows, learn_all=True).rows
        rows = fit_documents(documents, self.sequence, 0.0, job.seed)
        steps = plan(rows.lengths, Size(self.batch_tokens), job.seed, epochs=1.0)
        loss = evaluate(model, steps, TokenLoss(model, rows), computing_dtype(self.dtype))
        return {
            "eval_loss": loss,
            "eval_perplexity": math.exp(loss),
            "eval_rows": len(job.eval_rows),
        }


def _text(row: dict[str, Any], number: int) -> str:
    if not isinstance(row.get("text"), str):
        raise DataError(
            f"Row {number} has the columns {sorted(row)}; a new tokenizer is trained on text."
        )
    return str(row["text"])


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Pretrain]
