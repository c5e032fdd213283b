"""The loop of policy optimisation: ask, score, step; the same weights after any interruption.

Checkpoints fall between steps only, where nothing but weights, optimiser and curves exists.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.errors import Stopped
from tunesmith.records import TrainingJob
from tunesmith.training.checkpoint import Checkpointer
from tunesmith.training.losses import Forward
from tunesmith.training.optimisers import rate, set_rates
from tunesmith.training.policy_step import PolicySettings, PolicyStep, Voices
from tunesmith.training.rollouts import Asker, Rollout
from tunesmith.training.samples import SAMPLES, add_samples, forget_samples
from tunesmith.training.speaking import refuse_unmergeable, speaker

WATCHED = (
    "loss", "reward", "reward_std", "kl", "clip_fraction", "entropy", "completion_length",
    "truncated", "learning_rate",
)  # fmt: skip
"""One number each per step, in the order checkpoints keep them."""


@dataclass(slots=True)
class PolicyLoop:
    """Trains ``policy`` in place. ``reference`` is the frozen start, None where it is not needed.

    A policy with ``disable_adapter`` (PEFT) is its own reference when the adapter is off.
    """

    policy: Any
    reference: Any
    asker: Asker
    settings: PolicySettings
    job: TrainingJob
    checkpointer: Checkpointer
    history: list[float] = field(default_factory=list)
    stopped_by_kl: bool = False
    voices: Voices = field(init=False)

    def __post_init__(self) -> None:
        """Take the models apart once; ModelError for an adapter that cannot be merged."""
        refuse_unmergeable("Policy optimisation", self.job.adapter)
        ours = Forward(self.policy)
        self.voices = Voices(ours, ours if self.reference is None else Forward(self.reference))

    def run(self) -> list[dict[str, float]]:
        """Walk through all steps from the checkpoint, if any; return every step's numbers."""
        import torch

        first, self.history = self.checkpointer.read()
        forget_samples(self.samples, first)
        with torch.random.fork_rng():
            for step in range(first, self.settings.steps):
                self._stop_if_asked(step)
                if not self._step(step):
                    break
                if self.checkpointer.due():
                    self.checkpointer.write(step + 1, self.history)
        # Saving the model may be interrupted too: then only that is done again.
        done = len(self.history) // len(WATCHED)
        if done > first:
            self.checkpointer.write(done, self.history)
        self.policy.eval()
        return self.points()

    @property
    def samples(self) -> Path:
        """Where the sample browser's lines are gathered."""
        return self.job.work / SAMPLES

    def points(self) -> list[dict[str, float]]:
        """Return the watched numbers of every step so far."""
        width = len(WATCHED)
        rows = (self.history[at : at + width] for at in range(0, len(self.history), width))
        return [dict(zip(WATCHED, row, strict=True)) for row in rows]

    def _stop_if_asked(self, step: int) -> None:
        if self.job.should_stop():
            self.checkpointer.write(step, self.history)
            raise Stopped(
                f"Stopped after {step} of {self.settings.steps} steps; resume goes on there."
            )

    def _step(self, step: int) -> bool:
        """Do one step; False when the policy has gone too far and must not go further."""
        import torch

        started = time.monotonic()
        # A step's randomness (dropout) depends on its number, so resuming needs no stored state.
        torch.manual_seed((self.job.seed * 1_000_003 + step) % 2**63)
        rollout = self.asker.ask(self._speaker(), step)
        update = PolicyStep(
            self.voices, rollout, self.asker.answers, self.asker.longest, self.settings
        )
        share = rate(step, self.settings.steps, self.settings.warmup, self.settings.schedule)
        set_rates(self.checkpointer.optimisers, share)
        for iteration in range(self.settings.iterations):
            update.gradients(first=iteration == 0)
            if iteration == 0 and self._too_far(update.watched["kl"]):
                return False
            self._apply()
        update.watched["learning_rate"] = self.checkpointer.optimisers[0].param_groups[0]["lr"]
        self.history += [update.watched[name] for name in WATCHED]
        self._tell(step, rollout, update, time.monotonic() - started)
        return True

    def _speaker(self) -> Any:
        """Return a plain model that speaks as the policy does now."""
        return speaker(self.voices.policy, self.job.adapter)

    def _too_far(self, kl: float) -> bool:
        limit = self.settings.max_kl
        self.stopped_by_kl = limit is not None and kl > limit
        return self.stopped_by_kl

    def _apply(self) -> None:
        import torch

        if self.settings.max_grad_norm > 0:
            parameters = self.policy.parameters()
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm)
        for optimiser in self.checkpointer.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def _tell(self, step: int, rollout: Rollout, update: PolicyStep, seconds: float) -> None:
        if step % self.settings.sample_every == 0 or step + 1 == self.settings.steps:
            rows = self.asker.answers * self.settings.sample_prompts
            messages, gains = self.asker.prompts.messages, update.advantages.tolist()
            add_samples(self.samples, step, rollout, messages, gains, rows)
        numbers = {"step": step + 1, "steps": self.settings.steps, "seconds": seconds}
        self.job.report({**numbers, **update.watched})
