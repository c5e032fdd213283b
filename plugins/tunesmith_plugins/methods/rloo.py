"""REINFORCE leave-one-out (Ahmadian et al. 2024): whole answers, and an unbiased baseline."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tunesmith import Outcome, TrainingJob, TrainingMethod, hookimpl
from tunesmith.training.hardware import Precision
from tunesmith.training.leave_one_out import LeaveOneOut
from tunesmith.training.optimisers import Schedule
from tunesmith.training.policy import Clip
from tunesmith.training.policy_training import train_policy


class Rloo(TrainingMethod):
    """Answer prompts several times, and make answers likelier that beat the mean of the others."""

    name: ClassVar[str] = "rloo"
    rows_type: ClassVar[str] = "prompt-only"

    steps: int = Field(default=80, ge=1)
    """How often to ask, score and learn."""
    prompts_per_step: int = Field(default=16, ge=1)
    """Prompts asked per step; every prompt once before any is asked again."""
    num_generations: int = Field(default=4, ge=2)
    """Answers per prompt: each is compared with the mean of the others."""
    max_completion_length: int = Field(default=128, ge=1)
    """Longest answer, in tokens."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature the answers are sampled at."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """AdamW's peak rate; LoRA likes 1e-4 to 1e-3, all weights of a large model 1e-6."""
    beta: float = Field(default=0.05, ge=0)
    """What each nat costs that an answer is likelier than with the starting model (KL), in
    reward."""
    epsilon: float = Field(default=0.2, gt=0)
    """By how much an answer's probability may change per step before it stops counting."""
    epsilon_high: float | None = None
    """The same limit upwards, where it shall differ."""
    num_iterations: int = Field(default=1, ge=1)
    """Optimiser steps per set of answers."""
    normalize_advantages: bool = False
    """Give the advantages of a step mean 0 and deviation 1."""
    reward_clip_range: tuple[float, float] | None = None
    """Clip rewards to this range before the distance is taken off; null: leave them."""
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
        clip = Clip(self.epsilon, self.epsilon_high, self.beta)
        objective = LeaveOneOut(clip, self.normalize_advantages, self.reward_clip_range)
        return train_policy(self, objective, job)


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Rloo]
