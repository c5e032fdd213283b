"""One step of policy optimisation: the gradients of a rollout and the numbers to watch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.training.batches import Indices, Size, plan
from tunesmith.training.hardware import ComputingDtype
from tunesmith.training.logprobs import logprobs
from tunesmith.training.loop import mixed_precision
from tunesmith.training.losses import Forward
from tunesmith.training.optimisers import Schedule
from tunesmith.training.policy import PolicyObjective
from tunesmith.training.rollouts import Rollout

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How to step; see the options of `grpo` and `rloo`."""

    steps: int
    objective: PolicyObjective
    iterations: int
    temperature: float
    warmup: float
    schedule: Schedule
    max_kl: float | None
    max_grad_norm: float
    dtype: ComputingDtype
    sample_every: int
    sample_prompts: int


@dataclass(frozen=True, slots=True)
class Voices:
    """The policy and the model it must stay near: the same object when that is its bare base."""

    policy: Forward
    reference: Forward

    @contextmanager
    def asking_reference(self) -> Iterator[None]:
        """Switch the policy's adapter off for a while where it is its own reference; no dropout."""
        if self.reference is not self.policy:
            yield
            return
        self.policy.model.eval()
        try:
            with self.policy.model.disable_adapter():
                yield
        finally:
            self.policy.model.train()


class PolicyStep:
    """One step's gradients, micro-batch by micro-batch, and the numbers to watch."""

    def __init__(
        self, voices: Voices, rollout: Rollout, group: int, longest: int, how: PolicySettings
    ) -> None:
        import torch

        self.voices, self.rollout, self.how = voices, rollout, how
        self.model = voices.policy.model
        size = Size(0, len(rollout.tokens)).for_vocabulary(
            self.model.config.get_text_config().vocab_size
        )
        self.micros = plan(rollout.tokens.lengths, size, 0, epochs=1.0)[0]
        self.lengths = torch.from_numpy(rollout.tokens.targets)
        self.group, self.advantages = group, torch.zeros(len(rollout.tokens))
        self.divide_by = how.objective.divisors(self.lengths, longest).to(self.model.device)
        self.before: list[Tensor] = []
        self.theirs: list[Tensor | None] = []
        self.watched: dict[str, float] = {}

    def gradients(self, *, first: bool) -> None:
        """Add up the gradients of all micro-batches; the first time, remember the start."""
        sums = dict.fromkeys(("loss", "kl", "clip_fraction", "entropy"), 0.0)
        if first:
            self._judge()
        self.model.train()
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

    def _judge(self) -> None:
        """Work out the advantages, and what the reference says of the completions."""
        import torch

        objective, drift = self.how.objective, None
        if objective.charges_drift:
            drift = torch.zeros(len(self.lengths))
        for batch in self.micros:
            with mixed_precision(self.model, self.how.dtype):
                self.theirs.append(theirs := self._reference(batch))
                if drift is not None and theirs is not None:
                    drift[batch] = self._drift(batch, theirs)
        self.advantages = objective.advantages(self.rollout.rewards, drift, self.group)

    def _drift(self, batch: Indices, theirs: Tensor) -> Tensor:
        """Return log policy/reference of whole completions, without dropout, (rows,)."""
        import torch

        self.model.eval()
        with torch.no_grad():
            ours = logprobs(
                self.voices.policy, self.rollout.tokens, batch, temperature=self.how.temperature
            )
        return ours.sums(ours.values - theirs).cpu()

    def _micro(self, at: int, batch: Indices, *, first: bool) -> dict[str, float]:
        with mixed_precision(self.model, self.how.dtype):
            now = logprobs(
                self.voices.policy, self.rollout.tokens, batch,
                temperature=self.how.temperature, entropy=True,
            )  # fmt: skip
        if first:
            self.before.append(now.values.detach())
        gain = self.advantages[batch].to(now.values.device)
        found = self.how.objective.loss(
            now, self.before[at], self.theirs[at], gain, self.divide_by[batch]
        )
        found.loss.backward()  # type: ignore[no-untyped-call]
        spread = 0.0 if now.entropy is None else float(now.entropy.sum())
        return {
            "loss": float(found.loss.detach()), "kl": found.kl,
            "clip_fraction": found.clipped, "entropy": spread,
        }  # fmt: skip

    def _reference(self, batch: Indices) -> Tensor | None:
        import torch

        if not self.how.objective.asks_reference and self.how.max_kl is None:
            return None
        with self.voices.asking_reference(), torch.no_grad():
            asked, heat = self.voices.reference, self.how.temperature
            return logprobs(asked, self.rollout.tokens, batch, temperature=heat).values

    def _said(self) -> dict[str, float]:
        rewards, lengths = self.rollout.rewards, self.lengths.float()
        return {
            "reward": float(rewards.mean()), "reward_std": float(rewards.std()),
            "completion_length": float(lengths.mean()), "truncated": self.rollout.truncated,
        }  # fmt: skip
