"""The loop of policy optimisation: ask, score, step; the same weights after any interruption.

Checkpoints fall between steps only, where nothing but weights, optimiser and curves exists.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError, Stopped
from tunesmith.records import TrainingJob
from tunesmith.training.batches import Indices, Size, plan
from tunesmith.training.checkpoint import Checkpointer
from tunesmith.training.hardware import ComputingDtype
from tunesmith.training.logprobs import logprobs
from tunesmith.training.loop import mixed_precision
from tunesmith.training.losses import Forward
from tunesmith.training.optimisers import Schedule, rate, set_rates
from tunesmith.training.policy import (
    Clip,
    Normalise,
    Scale,
    divisors,
    group_advantages,
    policy_loss,
)
from tunesmith.training.rollouts import Asker, Rollout
from tunesmith.training.samples import SAMPLES, add_samples, forget_samples

if TYPE_CHECKING:
    from torch import Tensor

WATCHED = (
    "loss", "reward", "reward_std", "kl", "clip_fraction", "entropy", "completion_length",
    "truncated", "learning_rate",
)  # fmt: skip
"""One number each per step, in the order checkpoints keep them."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How to step; see the options of `grpo`."""

    steps: int
    clip: Clip
    normalise: Normalise
    scale: Scale
    iterations: int
    temperature: float
    warmup: float
    schedule: Schedule
    max_kl: float | None
    max_grad_norm: float
    dtype: ComputingDtype
    sample_every: int
    sample_prompts: int


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
        update = _Update(self, rollout)
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
        if self.job.adapter is None or not hasattr(self.policy, "peft_config"):
            return self.policy
        # Merged, a decoding step costs half; a copy, because merging back and forth would drift.
        return self.job.adapter.merge(deepcopy(self.policy))

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

    def _tell(self, step: int, rollout: Rollout, update: _Update, seconds: float) -> None:
        if step % self.settings.sample_every == 0 or step + 1 == self.settings.steps:
            rows = self.asker.answers * self.settings.sample_prompts
            messages, gains = self.asker.prompts.messages, update.advantages.tolist()
            add_samples(self.samples, step, rollout, messages, gains, rows)
        numbers = {"step": step + 1, "steps": self.settings.steps, "seconds": seconds}
        self.job.report({**numbers, **update.watched})

    def reference_mode(self) -> tuple[Any, AbstractContextManager[Any]]:
        """Return the model that gives the reference's logits, and the context to ask it in."""
        if self.reference is not None:
            return self.reference, nullcontext()
        return self.policy, self.policy.disable_adapter()


class _Update:
    """One step's gradients, micro-batch by micro-batch, and the numbers to watch."""

    def __init__(self, loop: PolicyLoop, rollout: Rollout) -> None:
        import torch

        self.loop, self.rollout, self.how = loop, rollout, loop.settings
        self.forward = Forward(loop.policy)
        size = Size(0, len(rollout.tokens)).for_vocabulary(
            loop.policy.config.get_text_config().vocab_size
        )
        self.micros = plan(rollout.tokens.lengths, size, 0, epochs=1.0)[0]
        device = loop.policy.device
        self.lengths = torch.from_numpy(rollout.tokens.targets)
        self.advantages = group_advantages(rollout.rewards, loop.asker.answers, self.how.scale)
        longest = loop.asker.longest
        self.divide_by = divisors(self.lengths, self.how.normalise, longest).to(device)
        self.before: list[Tensor] = []
        self.theirs: list[Tensor | None] = []
        self.watched: dict[str, float] = {}

    def gradients(self, *, first: bool) -> None:
        """Add up the gradients of all micro-batches; the first time, remember the start."""
        sums = dict.fromkeys(("loss", "kl", "clip_fraction", "entropy"), 0.0)
        self.loop.policy.train()
        for at, batch in enumerate(self.micros):
            for name, value in self._micro(at, batch, first=first).items():
                sums[name] += value
        if not math.isfinite(sums["loss"]):
            raise ModelError("The policy's loss is no longer a number. Lower the learning rate.")
        tokens = float(self.lengths.sum())
        per_token = {k: v / max(tokens, 1.0) for k, v in sums.items() if k != "loss"}
        if first:
            self.watched = {"loss": sums["loss"], **per_token, **self._said()}
        else:
            self.watched["clip_fraction"] = per_token["clip_fraction"]

    def _micro(self, at: int, batch: Indices, *, first: bool) -> dict[str, float]:
        with mixed_precision(self.loop.policy, self.how.dtype):
            if first:
                self.theirs.append(self._reference(batch))
            now = logprobs(
                self.forward, self.rollout.tokens, batch,
                temperature=self.how.temperature, entropy=True,
            )  # fmt: skip
        if first:
            self.before.append(now.values.detach())
        gain = self.advantages[batch].to(now.values.device)
        found = policy_loss(
            now, self.before[at], self.theirs[at], gain, self.divide_by[batch], self.how.clip
        )
        found.loss.backward()  # type: ignore[no-untyped-call]
        spread = 0.0 if now.entropy is None else float(now.entropy.sum())
        return {
            "loss": float(found.loss.detach()), "kl": found.kl,
            "clip_fraction": found.clipped, "entropy": spread,
        }  # fmt: skip

    def _reference(self, batch: Indices) -> Tensor | None:
        import torch

        if self.how.clip.beta == 0 and self.how.max_kl is None:
            return None
        model, asked = self.loop.reference_mode()
        with asked, torch.no_grad():
            forward = self.forward if model is self.loop.policy else Forward(model)
            heat = self.how.temperature
            return logprobs(forward, self.rollout.tokens, batch, temperature=heat).values

    def _said(self) -> dict[str, float]:
        rewards, lengths = self.rollout.rewards, self.lengths.float()
        return {
            "reward": float(rewards.mean()), "reward_std": float(rewards.std()),
            "completion_length": float(lengths.mean()), "truncated": self.rollout.truncated,
        }  # fmt: skip
