"""Learning to answer as given completions do: what fine-tuning and distillation from text share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from tunesmith.chat import fingerprint
from tunesmith.records import Outcome, Row, TrainingJob
from tunesmith.training.adapting import save_trained, trainable_parameters
from tunesmith.training.batches import Size, TokenRows, plan
from tunesmith.training.encoding import Encoded, encode_rows
from tunesmith.training.hardware import Precision, computing_dtype
from tunesmith.training.loop import LoopResult, LoopSettings, evaluate, run_loop
from tunesmith.training.losses import TokenLoss
from tunesmith.training.optimisers import OptimiserName, Schedule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Learn = Literal["completion", "all"]


class StepOptions(Protocol):
    """The options of every technique that walks through `run_loop`."""

    name: ClassVar[str]

    @property
    def learning_rate(self) -> float:
        """AdamW's peak rate."""
        ...

    @property
    def optimizer(self) -> OptimiserName:
        """Which optimiser the hidden matrices have."""
        ...

    @property
    def muon_learning_rate(self) -> float:
        """Muon's peak rate."""
        ...

    @property
    def weight_decay(self) -> float:
        """Decay of matrices."""
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
    def dtype(self) -> Precision:
        """Precision of the computation."""
        ...


class SupervisedOptions(StepOptions, Protocol):
    """The options of learning from rows."""

    @property
    def epochs(self) -> float:
        """How often each row is seen."""
        ...

    @property
    def steps(self) -> int | None:
        """Number of optimiser steps; overrules ``epochs``."""
        ...

    @property
    def learn(self) -> Learn:
        """Whether the prompt's tokens are learnt too."""
        ...

    @property
    def save_dtype(self) -> Literal["float32", "bfloat16"]:
        """Precision of the saved weights."""
        ...


def loop_settings(how: StepOptions) -> LoopSettings:
    """Return how to step, as the options say."""
    return LoopSettings(
        learning_rate=how.learning_rate,
        optimiser=how.optimizer,
        muon_learning_rate=how.muon_learning_rate,
        weight_decay=how.weight_decay,
        warmup=how.warmup,
        schedule=how.schedule,
        dtype=computing_dtype(how.dtype),
    )


def budget(how: SupervisedOptions) -> dict[str, Any]:
    """Return the limit that `plan` is given."""
    return {"steps": how.steps} if how.steps is not None else {"epochs": how.epochs}


@dataclass(frozen=True, slots=True)
class Lesson:
    """A model, wrapped and ready, with the rows it shall learn from."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    origin: str
    """A digest of the weights it starts from."""
    data: Encoded
    size: Size
    longest: int
    """Most tokens a row may have."""


def learn_rows(how: SupervisedOptions, lesson: Lesson, job: TrainingJob) -> Outcome:
    """Train through all rows, measure on ``job.eval_rows`` and write the model to ``job.out``."""
    model, data = lesson.model, lesson.data
    learning = trainable_parameters(model)
    steps = plan(data.rows.lengths, lesson.size, job.seed, **budget(how))
    key = {
        "method": how.name,
        "rows": data.rows.digest(),
        "origin": f"{lesson.origin} {fingerprint(lesson.tokenizer)}",
        "adapter": job.adapter.model_dump_json() if job.adapter else "",
    }
    result = run_loop(model, steps, TokenLoss(model, data.rows), loop_settings(how), job, key)
    metrics = _metrics(how, result, data, learning)
    metrics |= _validate(how, lesson, job.eval_rows)
    metrics |= save_trained(job, model, lesson.tokenizer, data.rows, how.save_dtype)
    timings = {"seconds": result.seconds, "tokens_per_second": result.tokens_per_second}
    return Outcome(metrics, timings)


def _metrics(
    how: SupervisedOptions, result: LoopResult, data: Encoded, learning: int
) -> dict[str, Any]:
    return {
        "loss": result.final_loss,
        "steps": result.steps,
        "tokens": result.tokens,
        "rows": len(data.rows),
        "rows_too_long": data.too_long,
        "trainable_parameters": learning,
        "dtype": computing_dtype(how.dtype),
    }


def _validate(how: SupervisedOptions, lesson: Lesson, rows: Sequence[Row]) -> dict[str, float]:
    if not rows:
        return {}
    data = encode_rows(lesson.tokenizer, rows, lesson.longest, learn_all=how.learn == "all")
    return {
        "eval_loss": mean_loss(lesson.model, data.rows, lesson.size, how.dtype),
        "eval_rows": len(data.rows),
        "eval_rows_too_long": data.too_long,
    }


def mean_loss(model: Any, rows: TokenRows, size: Size, dtype: Precision) -> float:
    """Return the cross-entropy in nats per supervised token."""
    steps = plan(rows.lengths, size, 0, epochs=1.0)
    return evaluate(model, steps, TokenLoss(model, rows), computing_dtype(dtype))
