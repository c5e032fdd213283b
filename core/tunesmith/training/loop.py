"""The training loop: planned steps in, trained weights out, the same after any interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from tunesmith.errors import ModelError, Stopped
from tunesmith.records import TrainingJob
from tunesmith.training.batches import Indices, Step, describe
from tunesmith.training.checkpoint import Checkpointer
from tunesmith.training.optimisers import (
    OptimiserName,
    Schedule,
    build_optimisers,
    rate,
    set_rates,
)

if TYPE_CHECKING:
    from torch import Tensor

_REPORT_EVERY = 0.5
"""Seconds between curve points."""
_TAIL = 50
"""Steps whose mean loss is reported as the final one."""


class Objective(Protocol):
    """What is minimised, in sums, so that a step may be cut into micro-batches anywhere."""

    def weight(self, rows: Indices) -> int:
        """Return the denominator these rows add to their step's mean."""
        ...

    def tokens(self, rows: Indices) -> int:
        """Return how many real tokens these rows have."""
        ...

    def loss(self, rows: Indices) -> Tensor:
        """Return the summed loss of these rows."""
        ...


@runtime_checkable
class WholeStep(Protocol):
    """An objective that looks at a whole step before the losses of its parts are asked for."""

    def begin(self, step: Step) -> None:
        """Take note of the step's rows; nothing is learnt from it."""
        ...


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How to step. ``warmup`` is a share of the steps below 1, else a number of steps."""

    learning_rate: float
    optimiser: OptimiserName = "adamw"
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    schedule: Schedule = "cosine"
    warmup: float = 0.03
    floor: float = 0.0
    """Share of the peak rate at which the schedule ends."""
    clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16`` computes in mixed precision; weights and optimiser stay in fp32."""


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What a run leaves besides the weights. Losses are means per unit of weight."""

    losses: list[float]
    steps: int
    tokens: int
    seconds: float
    """Time spent in this process; a resumed run counts only its own part."""
    tokens_per_second: float

    @property
    def final_loss(self) -> float:
        """Mean loss of the last steps, which is steadier than the last one."""
        tail = self.losses[-_TAIL:]
        return math.fsum(tail) / len(tail)


def run_loop(
    model: Any,
    steps: Sequence[Step],
    objective: Objective,
    settings: LoopSettings,
    job: TrainingJob,
    key: dict[str, Any],
) -> LoopResult:
    """Train ``model`` in place through all ``steps``, from the checkpoint in ``job.work`` if any.

    ``key`` names what else the weights depend on (digests of rows and of the starting model).
    Raises Stopped once the checkpoint is written when ``job.should_stop()``; ModelError when the
    loss is not finite.
    """
    import torch

    optimisers = build_optimisers(
        model,
        settings.optimiser,
        learning_rate=settings.learning_rate,
        muon_learning_rate=settings.muon_learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
    )
    identity = {**key, "seed": job.seed, "plan": describe(list(steps)), "loop": _identity(settings)}
    checkpointer = Checkpointer(job.work, identity, model, optimisers)
    runner = _Runner(model, steps, objective, settings, job, checkpointer)
    # The caller's random state stays as it was; the loop seeds each step for itself.
    with torch.random.fork_rng():
        return runner.run()


def _identity(settings: LoopSettings) -> dict[str, Any]:
    fields = asdict(settings).items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields}


@dataclass(slots=True)
class _Runner:
    model: Any
    steps: Sequence[Step]
    objective: Objective
    settings: LoopSettings
    job: TrainingJob
    checkpointer: Checkpointer
    losses: list[float] = field(default_factory=list)
    reported: float = 0.0
    started: float = 0.0
    tokens: int = 0

    def run(self) -> LoopResult:
        first, self.losses = self.checkpointer.read()
        self.model.train()
        self.started = time.monotonic()
        for step in range(first, len(self.steps)):
            self._stop_if_asked(step)
            self.losses.append(self._step(step))
            self._report(step + 1)
            if self.checkpointer.due() and step + 1 < len(self.steps):
                self.checkpointer.write(step + 1, self.losses)
        # Saving the model may be interrupted too: then only that is done again.
        if first < len(self.steps):
            self.checkpointer.write(len(self.steps), self.losses)
        self.model.eval()
        return self._result()

    def _stop_if_asked(self, step: int) -> None:
        if self.job.should_stop():
            self.checkpointer.write(step, self.losses)
            raise Stopped(f"Stopped after {step} of {len(self.steps)} steps; resume goes on there.")

    def _step(self, step: int) -> float:
        import torch

        # A step's randomness (dropout) depends on its number, so resuming needs no stored state.
        torch.manual_seed((self.job.seed * 1_000_003 + step) % 2**63)
        set_rates(self.checkpointer.optimisers, self._rate(step))
        loss = self._gradients(self.steps[step])
        if not math.isfinite(loss):
            raise ModelError(
                f"The loss became {loss} at step {step}. Lower the learning rate"
                f" (now {self.settings.learning_rate}) or look for broken rows."
            )
        if self.settings.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for optimiser in self.checkpointer.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return loss

    def _rate(self, step: int) -> float:
        how = self.settings
        return rate(step, len(self.steps), how.warmup, how.schedule, how.floor)

    def _gradients(self, micros: Step) -> float:
        if isinstance(self.objective, WholeStep):
            self.objective.begin(micros)
        total = sum(self.objective.weight(rows) for rows in micros)
        losses = []
        for rows in micros:
            with mixed_precision(self.model, self.settings.dtype):
                loss = self.objective.loss(rows) / total
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
            self.tokens += self.objective.tokens(rows)
        return math.fsum(losses)

    def _report(self, done: int) -> None:
        now = time.monotonic()
        if now - self.reported < _REPORT_EVERY and 1 < done < len(self.steps):
            return
        self.reported = now
        self.job.report(
            {
                "step": done,
                "steps": len(self.steps),
                "loss": self.losses[-1],
                "learning_rate": self.settings.learning_rate * self._rate(done - 1),
                "tokens_per_second": self._speed(),
            }
        )

    def _speed(self) -> float:
        return self.tokens / max(time.monotonic() - self.started, 1e-9)

    def _result(self) -> LoopResult:
        rows = (rows for step in self.steps for rows in step)
        return LoopResult(
            losses=self.losses,
            steps=len(self.steps),
            tokens=sum(self.objective.tokens(batch) for batch in rows),
            seconds=time.monotonic() - self.started,
            tokens_per_second=self._speed(),
        )


def mixed_precision(model: Any, dtype: str) -> Any:
    """Return the context in which a forward pass computes in ``dtype``."""
    import torch

    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")


def evaluate(model: Any, steps: Sequence[Step], objective: Objective, dtype: str) -> float:
    """Return the mean loss over all steps, without learning from them."""
    import torch

    training, total, weight = model.training, [], 0
    model.eval()
    with torch.no_grad():
        for rows in (rows for step in steps for rows in step):
            with mixed_precision(model, dtype):
                total.append(float(objective.loss(rows)))
            weight += objective.weight(rows)
    model.train(training)
    return math.fsum(total) / weight
