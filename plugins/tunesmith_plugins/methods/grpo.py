"""Group-relative policy optimisation (Shao et al. 2024): learn from rewards of own answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunesmith import ModelError, Outcome, Sampler, TrainingJob, TrainingMethod, hookimpl
from tunesmith.chat import fingerprint, stop_ids
from tunesmith.generation.reference import decoder
from tunesmith.models import context_length, load_model, load_tokenizer, weights_digest
from tunesmith.plugins import build
from tunesmith.training.adapting import save_trained, trainable_parameters, wrap_model
from tunesmith.training.checkpoint import Checkpointer
from tunesmith.training.hardware import Precision, best_device, computing_dtype
from tunesmith.training.optimisers import Schedule, build_optimisers
from tunesmith.training.policy import Clip, Normalise, Scale
from tunesmith.training.policy_loop import PolicyLoop
from tunesmith.training.policy_step import PolicySettings
from tunesmith.training.rollouts import Asker, Prompts, read_prompts
from tunesmith.training.samples import SAMPLES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Grpo(TrainingMethod):
    """Answer prompts several times, and make what the reward prefers more likely."""

    name: ClassVar[str] = "grpo"
    rows_type: ClassVar[str] = "prompt-only"

    steps: int = Field(default=80, ge=1)
    """How often to ask, score and learn."""
    prompts_per_step: int = Field(default=8, ge=1)
    """Prompts asked per step; every prompt once before any is asked again."""
    num_generations: int = Field(default=8, ge=2)
    """Answers per prompt: the group within which rewards are compared."""
    max_completion_length: int = Field(default=128, ge=1)
    """Longest answer, in tokens."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature the answers are sampled at."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """AdamW's peak rate; LoRA likes 1e-4 to 1e-3, all weights of a large model 1e-6."""
    beta: float = Field(default=0.04, ge=0)
    """Weight of the distance (KL) to the starting model in the loss."""
    epsilon: float = Field(default=0.2, gt=0)
    """By how much a token's probability may change per step before it stops counting."""
    epsilon_high: float | None = None
    """The same limit upwards, where it shall differ."""
    num_iterations: int = Field(default=1, ge=1)
    """Optimiser steps per set of answers."""
    loss_type: Normalise = "dr_grpo"
    """What the loss is averaged over: each answer alike (`grpo`), all tokens of the step (`bnpo`),
    or the greatest possible number of tokens (`dr_grpo`)."""
    scale_rewards: Scale = "group"
    """Divide advantages by the spread within the `group`, the whole `batch`, or `none`."""
    mask_truncated_completions: bool = False
    """Learn nothing from answers that hit the length limit."""
    max_kl: float | None = Field(default=0.5, gt=0)
    """Stop when the mean KL per token exceeds this; null: never."""
    warmup: float = Field(default=0.05, ge=0)
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "linear"
    """How the rate falls after that."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Largest gradient norm; 0 switches clipping off."""
    sample_every: int = Field(default=10, ge=1)
    """Steps between entries of the sample browser."""
    sample_prompts: int = Field(default=2, ge=0)
    """Prompts per entry of the sample browser, with all their answers."""
    dtype: Precision = "auto"
    """Precision of the gradients (`auto`: bf16 where native); answers are sampled in fp32."""

    def train(self, job: TrainingJob) -> Outcome:
        """Train `job.model_dir` on the prompts of `job.rows` with `job.reward`.

        Writes the plain model, `adapter/` where there is one, and `samples.jsonl`.
        """
        import time

        if job.model_dir is None or job.reward is None:
            raise ModelError("grpo needs a tuned model and a reward.")
        started = time.monotonic()
        tokenizer = load_tokenizer(job.model_dir)
        context = context_length(job.model_dir)
        prompts = read_prompts(tokenizer, job.rows, self.max_completion_length, context)
        policy = wrap_model(job, load_model(job.model_dir))
        loop = self._loop(job, job.model_dir, tokenizer, prompts, policy)
        points = loop.run()
        metrics: dict[str, Any] = {
            **summary(points), "steps": len(points), "stopped_by_kl": loop.stopped_by_kl,
            "prompts": len(prompts.ids), "prompts_too_long": prompts.too_long,
            "trainable_parameters": trainable_parameters(policy),
            "dtype": computing_dtype(self.dtype),
        }  # fmt: skip
        metrics |= save_trained(job, policy, tokenizer, prompts.token_rows())
        if loop.samples.is_file():
            shutil.copyfile(loop.samples, job.out / SAMPLES)
        return Outcome(metrics, {"seconds": time.monotonic() - started})

    def _loop(
        self, job: TrainingJob, start: Path, tokenizer: PreTrainedTokenizerBase,
        prompts: Prompts, policy: Any,
    ) -> PolicyLoop:  # fmt: skip
        optimisers = build_optimisers(
            policy, "adamw", learning_rate=self.learning_rate, muon_learning_rate=0.0,
            weight_decay=0.0, betas=(0.9, 0.99),
        )  # fmt: skip
        key = self._key(job, start, tokenizer, prompts)
        return PolicyLoop(
            policy=policy,
            reference=self._reference(start, policy),
            asker=self._asker(job, start, tokenizer, prompts),
            settings=self._settings(),
            job=job,
            checkpointer=Checkpointer(job.work, key, policy, optimisers),
        )

    def _reference(self, start: Path, policy: Any) -> Any:
        """Return a frozen copy of the start, unless switching the adapter off gives it back."""
        import torch

        if hasattr(policy, "disable_adapter") or (self.beta == 0 and self.max_kl is None):
            return None
        model = load_model(start).requires_grad_(False)
        torch.nn.Module.to(model, best_device())
        return model

    def _asker(
        self, job: TrainingJob, start: Path, tokenizer: PreTrainedTokenizerBase, prompts: Prompts
    ) -> Asker:
        if job.reward is None:
            raise ModelError("grpo needs a reward.")
        return Asker(
            prompts=prompts,
            per_step=self.prompts_per_step,
            answers=self.num_generations,
            sampler=build(Sampler, {"name": "temperature", "temperature": self.temperature}),
            longest=self.max_completion_length,
            stop_ids=stop_ids(tokenizer, start),
            decode=decoder(tokenizer),
            reward=job.reward,
            seed=job.seed,
            learn_truncated=not self.mask_truncated_completions,
        )

    def _settings(self) -> PolicySettings:
        return PolicySettings(
            steps=self.steps,
            clip=Clip(self.epsilon, self.epsilon_high, self.beta),
            normalise=self.loss_type,
            scale=self.scale_rewards,
            iterations=self.num_iterations,
            temperature=self.temperature,
            warmup=self.warmup,
            schedule=self.schedule,
            max_kl=self.max_kl,
            max_grad_norm=self.max_grad_norm,
            dtype=computing_dtype(self.dtype),
            sample_every=self.sample_every,
            sample_prompts=self.sample_prompts,
        )

    def _key(
        self, job: TrainingJob, start: Path, tokenizer: PreTrainedTokenizerBase, prompts: Prompts
    ) -> dict[str, Any]:
        return {
            "method": self.name, "options": self.model_dump_json(), "seed": job.seed,
            "prompts": prompts.digest(), "reward": str(getattr(job.reward, "digest", "")),
            "origin": f"{weights_digest(start)} {fingerprint(tokenizer)}",
            "adapter": job.adapter.model_dump_json() if job.adapter else "",
            "dtype": computing_dtype(self.dtype),
        }  # fmt: skip


def summary(points: list[dict[str, float]]) -> dict[str, float]:
    """Return the means of the first and the last tenth of the steps, and the furthest KL."""
    if not points:
        return {}
    few = max(1, len(points) // 10)

    def mean(name: Literal["reward", "kl", "completion_length", "entropy"], last: bool) -> float:
        some = points[-few:] if last else points[:few]
        return sum(point[name] for point in some) / few

    return {
        "reward_before": mean("reward", False), "reward_after": mean("reward", True),
        "kl": mean("kl", True), "max_kl": max(point["kl"] for point in points),
        "completion_length_before": mean("completion_length", False),
        "completion_length_after": mean("completion_length", True),
        "entropy_before": mean("entropy", False), "entropy_after": mean("entropy", True),
    }  # fmt: skip


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Grpo]
