"""Policy optimisation from a tuned model to a saved one, whatever is made of the rewards."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from tunesmith.chat import fingerprint, stop_ids
from tunesmith.errors import ModelError
from tunesmith.generation.reference import decoder
from tunesmith.models import context_length, load_model, load_tokenizer, weights_digest
from tunesmith.plugins import build
from tunesmith.records import Outcome, Scorer, TrainingJob
from tunesmith.techniques import Sampler
from tunesmith.training.adapting import save_trained, trainable_parameters, wrap_model
from tunesmith.training.checkpoint import Checkpointer
from tunesmith.training.hardware import Precision, best_device, computing_dtype
from tunesmith.training.optimisers import Schedule, build_optimisers
from tunesmith.training.policy import PolicyObjective
from tunesmith.training.policy_loop import PolicyLoop
from tunesmith.training.policy_step import PolicySettings
from tunesmith.training.rollouts import Asker, Prompts, read_prompts
from tunesmith.training.samples import SAMPLES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PolicyOptions(Protocol):
    """The options that every kind of policy optimisation has."""

    name: ClassVar[str]

    @property
    def steps(self) -> int:
        """How often to ask, score and learn."""
        ...

    @property
    def prompts_per_step(self) -> int:
        """Prompts asked per step."""
        ...

    @property
    def num_generations(self) -> int:
        """Answers per prompt."""
        ...

    @property
    def max_completion_length(self) -> int:
        """Longest answer, in tokens."""
        ...

    @property
    def temperature(self) -> float:
        """Temperature the answers are sampled at."""
        ...

    @property
    def learning_rate(self) -> float:
        """AdamW's peak rate."""
        ...

    @property
    def num_iterations(self) -> int:
        """Optimiser steps per set of answers."""
        ...

    @property
    def mask_truncated_completions(self) -> bool:
        """Whether answers that hit the length limit teach nothing."""
        ...

    @property
    def max_kl(self) -> float | None:
        """Mean KL per token at which to stop."""
        ...

    @property
    def warmup(self) -> float:
        """Share or number of the steps in which the rate rises."""
        ...

    @property
    def schedule(self) -> Schedule:
        """How the rate falls after that."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """Largest gradient norm."""
        ...

    @property
    def sample_every(self) -> int:
        """Steps between entries of the sample browser."""
        ...

    @property
    def sample_prompts(self) -> int:
        """Prompts per entry of the sample browser."""
        ...

    @property
    def dtype(self) -> Precision:
        """Precision of the gradients."""
        ...

    def model_dump_json(self) -> str:
        """Return all options, for the checkpoint's key."""
        ...


def train_policy(how: PolicyOptions, objective: PolicyObjective, job: TrainingJob) -> Outcome:
    """Train `job.model_dir` on the prompts of `job.rows` with `job.reward`.

    Writes the plain model, `adapter/` where there is one, and `samples.jsonl`.
    """
    if job.model_dir is None or job.reward is None:
        raise ModelError(f"{how.name} needs a tuned model and a reward.")
    started = time.monotonic()
    tokenizer, context = load_tokenizer(job.model_dir), context_length(job.model_dir)
    prompts = read_prompts(tokenizer, job.rows, how.max_completion_length, context)
    policy = wrap_model(job, load_model(job.model_dir))
    begun = _Begun(how, objective, job, job.model_dir, job.reward, tokenizer, prompts)
    loop = begun.loop(policy)
    points = loop.run()
    metrics: dict[str, Any] = {
        **summary(points), "steps": len(points), "stopped_by_kl": loop.stopped_by_kl,
        "prompts": len(prompts.ids), "prompts_too_long": prompts.too_long,
        "trainable_parameters": trainable_parameters(policy),
        "dtype": computing_dtype(how.dtype),
    }  # fmt: skip
    metrics |= save_trained(job, policy, tokenizer, prompts.token_rows())
    if loop.samples.is_file():
        shutil.copyfile(loop.samples, job.out / SAMPLES)
    return Outcome(metrics, {"seconds": time.monotonic() - started})


@dataclass(frozen=True, slots=True)
class _Begun:
    """What the parts of a loop are made from."""

    how: PolicyOptions
    objective: PolicyObjective
    job: TrainingJob
    start: Path
    reward: Scorer
    tokenizer: PreTrainedTokenizerBase
    prompts: Prompts

    def loop(self, policy: Any) -> PolicyLoop:
        optimisers = build_optimisers(
            policy, "adamw", learning_rate=self.how.learning_rate, muon_learning_rate=0.0,
            weight_decay=0.0, betas=(0.9, 0.99),
        )  # fmt: skip
        return PolicyLoop(
            policy=policy,
            reference=self._reference(policy),
            asker=self._asker(),
            settings=self._settings(),
            job=self.job,
            checkpointer=Checkpointer(self.job.work, self._key(), policy, optimisers),
        )

    def _reference(self, policy: Any) -> Any:
        """Return a frozen copy of the start, unless switching the adapter off gives it back."""
        import torch

        wanted = self.objective.asks_reference or self.how.max_kl is not None
        if hasattr(policy, "disable_adapter") or not wanted:
            return None
        model = load_model(self.start).requires_grad_(False)
        torch.nn.Module.to(model, best_device())
        return model

    def _asker(self) -> Asker:
        how = self.how
        return Asker(
            prompts=self.prompts,
            per_step=how.prompts_per_step,
            answers=how.num_generations,
            sampler=build(Sampler, {"name": "temperature", "temperature": how.temperature}),
            longest=how.max_completion_length,
            stop_ids=stop_ids(self.tokenizer, self.start),
            decode=decoder(self.tokenizer),
            reward=self.reward,
            seed=self.job.seed,
            learn_truncated=not how.mask_truncated_completions,
        )

    def _settings(self) -> PolicySettings:
        how = self.how
        return PolicySettings(
            steps=how.steps,
            objective=self.objective,
            iterations=how.num_iterations,
            temperature=how.temperature,
            warmup=how.warmup,
            schedule=how.schedule,
            max_kl=how.max_kl,
            max_grad_norm=how.max_grad_norm,
            dtype=computing_dtype(how.dtype),
            sample_every=how.sample_every,
            sample_prompts=how.sample_prompts,
        )

    def _key(self) -> dict[str, Any]:
        job = self.job
        return {
            "method": self.how.name, "options": self.how.model_dump_json(), "seed": job.seed,
            "prompts": self.prompts.digest(), "reward": str(getattr(self.reward, "digest", "")),
            "origin": f"{weights_digest(self.start)} {fingerprint(self.tokenizer)}",
            "adapter": job.adapter.model_dump_json() if job.adapter else "",
            "dtype": computing_dtype(self.how.dtype),
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
