"""Direct preference optimisation (Rafailov et al. 2023): learn from pairs, without a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from tunesmith import ModelError, Outcome, Row, TrainingJob, TrainingMethod, hookimpl
from tunesmith.chat import fingerprint
from tunesmith.models import load_model, load_tokenizer, weights_digest
from tunesmith.training import LoopSettings, Size, plan, run_loop
from tunesmith.training.adapting import (
    longest_row,
    save_trained,
    trainable_parameters,
    wrap_model,
)
from tunesmith.training.hardware import Precision, best_device, computing_dtype
from tunesmith.training.logprobs import logprobs, sequence_logprobs
from tunesmith.training.losses import Forward
from tunesmith.training.optimisers import Schedule
from tunesmith.training.preference import PairRows, Ties, Weights, pair_rows
from tunesmith.training.preference_losses import Loss, dpo_loss

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from tunesmith.training.batches import Indices


class Dpo(TrainingMethod):
    """Raise the preferred answer above the other one, relative to the model it started from."""

    name: ClassVar[str] = "dpo"
    rows_type: ClassVar[str] = "preference"

    beta: float = Field(default=0.1, gt=0)
    """How dear it is to leave the starting model."""
    loss_type: Loss = "sigmoid"
    """`sigmoid` (DPO), `hinge` (SLiC) or `ipo`, which averages over tokens."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that a label is wrong (conservative DPO)."""
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

    def train(self, job: TrainingJob) -> Outcome:
        """Train on preference rows; metrics say how far apart the answers of a pair are after it.

        With ``eval_rows`` the same is said of pairs it has not seen (``eval_*``).
        """
        if job.model_dir is None:
            raise ModelError("dpo needs a tuned model to start from.")
        tokenizer, model = load_tokenizer(job.model_dir), load_model(job.model_dir)
        seen, held = (self._pairs(job, rows, tokenizer) for rows in (job.rows, job.eval_rows))
        if seen is None:
            raise ModelError("dpo needs at least one preference row.")
        before, held_before = self._start(model, seen), self._start(model, held)
        policy = wrap_model(job, model)
        objective = DpoLoss(policy, seen, before, self)
        steps = plan(seen.lengths, self._size(len(tokenizer)), job.seed, epochs=self.epochs)
        key = self._key(job, job.model_dir, tokenizer, seen)
        reporting = replace(job, report=lambda point: job.report({**point, **objective.watched()}))
        result = run_loop(policy, steps, objective, self._settings(), reporting, key)
        metrics: dict[str, Any] = {
            "loss": result.final_loss, "steps": result.steps, "pairs": len(seen),
            "trainable_parameters": trainable_parameters(policy),
            "dtype": computing_dtype(self.dtype),
        }  # fmt: skip
        metrics |= self._apart("", policy, seen, before)
        metrics |= self._apart("eval_", policy, held, held_before)
        metrics |= save_trained(job, policy, tokenizer, seen.tokens)
        return Outcome(metrics, {"seconds": result.seconds})

    def _pairs(
        self, job: TrainingJob, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> PairRows | None:
        if not rows or job.model_dir is None:
            return None
        how = {"ties": self.ties, "weights": self.weights, "longest": longest_row(job)}
        return pair_rows(tokenizer, rows, **how)

    def _size(self, vocabulary: int) -> Size:
        return Size(0, self.batch_size).for_vocabulary(vocabulary)

    def _key(
        self, job: TrainingJob, start: Path, tokenizer: PreTrainedTokenizerBase, pairs: PairRows
    ) -> dict[str, Any]:
        return {
            "method": self.name, "options": self.model_dump_json(), "rows": pairs.digest(),
            "origin": f"{weights_digest(start)} {fingerprint(tokenizer)}",
            "adapter": job.adapter.model_dump_json() if job.adapter else "",
        }  # fmt: skip

    def _settings(self) -> LoopSettings:
        return LoopSettings(
            learning_rate=self.learning_rate, warmup=self.warmup, schedule=self.schedule,
            dtype=computing_dtype(self.dtype),
        )  # fmt: skip

    def _start(self, model: Any, pairs: PairRows | None) -> Logprobs:
        """Return the reference's log-probabilities; asked once, so no second model is kept."""
        from torch.nn import Module

        Module.to(model, best_device())
        return np.zeros(0, np.float32) if pairs is None else all_logprobs(model, pairs)

    def _apart(
        self, prefix: str, policy: Any, pairs: PairRows | None, before: Logprobs
    ) -> dict[str, float]:
        """Return how often and by how much the implicit reward prefers the chosen answers."""
        if pairs is None:
            return {}
        moved = self.beta * (all_logprobs(policy, pairs) - before)
        gaps, decided = moved[::2] - moved[1::2], pairs.p != 0.5
        right = (gaps > 0) == (pairs.p > 0.5)
        return {
            f"{prefix}accuracy": float(right[decided].mean()) if decided.any() else float("nan"),
            f"{prefix}margin": float(gaps.mean()),
            f"{prefix}reward_chosen": float(moved[::2].mean()),
            f"{prefix}reward_rejected": float(moved[1::2].mean()),
        }


Logprobs = np.ndarray[Any, np.dtype[np.float32]]
"""Summed log-probabilities of all answers, (2 x pairs,): chosen and rejected in turn."""


def all_logprobs(model: Any, pairs: PairRows) -> Logprobs:
    """Return the model's log-probability of every answer in fp32, without dropout."""
    size = Size(4096).for_vocabulary(model.config.get_text_config().vocab_size)
    steps = plan(pairs.tokens.lengths, size, 0, epochs=1.0)
    was_training = model.training
    model.eval()
    values = sequence_logprobs(Forward(model), pairs.tokens, [b for step in steps for b in step])
    model.train(was_training)
    return values


@dataclass(slots=True)
class _Watched:
    """Sums over the pairs of the newest steps."""

    pairs: float = 0.0
    right: float = 0.0
    margin: float = 0.0


class DpoLoss:
    """The objective for the training loop; its rows are pairs."""

    def __init__(self, policy: Any, pairs: PairRows, before: Logprobs, how: Dpo) -> None:
        self.forward, self.pairs, self.before, self.how = Forward(policy), pairs, before, how
        self.seen = _Watched()

    def weight(self, rows: Indices) -> int:
        """Return the number of pairs."""
        return len(rows)

    def tokens(self, rows: Indices) -> int:
        """Return the number of tokens of both answers, their prompts included."""
        return int(self.pairs.tokens.lengths[self.pairs.answers(rows)].sum())

    def loss(self, rows: Indices) -> Tensor:
        """Return the summed loss of these pairs, each times its weight."""
        import torch

        gap, p = self._gap(rows), torch.from_numpy(self.pairs.p[rows])
        how, weight = self.how, torch.from_numpy(self.pairs.weight[rows])
        p, weight = p.to(gap.device), weight.to(gap.device)
        self._watch(gap.detach(), p)
        losses = dpo_loss(gap, p, loss=how.loss_type, beta=how.beta, smoothing=how.label_smoothing)
        return (losses * weight).sum()

    def _gap(self, rows: Indices) -> Tensor:
        """Return log policy/reference of chosen minus that of rejected, (pairs,)."""
        import torch

        answers = self.pairs.answers(rows)
        now = logprobs(self.forward, self.pairs.tokens, answers).sums()
        moved = now - torch.from_numpy(self.before[answers]).to(now.device)
        if self.how.loss_type == "ipo":
            moved = moved / torch.from_numpy(self.pairs.tokens.targets[answers]).to(now.device)
        chosen, rejected = moved.chunk(2)
        return chosen - rejected

    def _watch(self, gap: Tensor, p: Tensor) -> None:
        decided = p != 0.5
        self.seen.pairs += float(decided.sum())
        self.seen.right += float((((gap > 0) == (p > 0.5)) & decided).sum())
        self.seen.margin += self.how.beta * float(gap[decided].sum())

    def watched(self) -> dict[str, float]:
        """Return accuracy and margin since the last call, for the curves."""
        seen, self.seen = self.seen, _Watched()
        if not seen.pairs:
            return {}
        return {"accuracy": seen.right / seen.pairs, "margin": seen.margin / seen.pairs}


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Dpo]
