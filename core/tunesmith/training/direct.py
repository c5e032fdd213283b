"""Learning straight from labelled answers: what its methods share, whatever their loss.

Nothing is sampled and no reward model is asked, so the training loop of fine-tuning serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from tunesmith.chat import fingerprint
from tunesmith.errors import ModelError
from tunesmith.models import load_model, load_tokenizer, weights_digest
from tunesmith.records import TrainingJob
from tunesmith.training.adapting import longest_row
from tunesmith.training.batches import Indices, Size, Step, TokenRows, plan
from tunesmith.training.hardware import Precision, best_device, computing_dtype
from tunesmith.training.logprobs import sequence_logprobs
from tunesmith.training.loop import LoopResult, LoopSettings, Objective, run_loop
from tunesmith.training.losses import Forward
from tunesmith.training.optimisers import Schedule

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Logprobs: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
"""Summed log-probabilities of answers, in nats, (answers,)."""


class DirectOptions(Protocol):
    """The options that every method has which learns from labelled answers."""

    name: ClassVar[str]

    @property
    def epochs(self) -> float:
        """How often each row is seen."""
        ...

    @property
    def learning_rate(self) -> float:
        """Peak rate."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows per optimiser step."""
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

    def model_dump_json(self) -> str:
        """Return all options, for the checkpoint's key."""
        ...


class WatchedObjective(Objective, Protocol):
    """An objective with numbers of its own for the curves."""

    def watched(self) -> dict[str, float]:
        """Return what was seen since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """The model a job starts from."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    longest: int
    """Most tokens a row may have."""
    origin: str
    """Digests of its weights and of how it reads conversations."""


def open_start(how: DirectOptions, job: TrainingJob) -> Start:
    """Load the model a job starts from; ModelError when it names none."""
    from torch.nn import Module

    if job.model_dir is None:
        raise ModelError(f"{how.name} needs a tuned model to start from.")
    tokenizer, model = load_tokenizer(job.model_dir), load_model(job.model_dir)
    Module.to(model, best_device())
    origin = f"{weights_digest(job.model_dir)} {fingerprint(tokenizer)}"
    return Start(tokenizer, model, longest_row(job), origin)


def planned(how: DirectOptions, start: Start, job: TrainingJob, lengths: Indices) -> list[Step]:
    """Return every step's micro-batches of rows with these lengths."""
    size = Size(0, how.batch_size).for_vocabulary(len(start.tokenizer))
    return plan(lengths, size, job.seed, epochs=how.epochs)


def walk(
    how: DirectOptions,
    start: Start,
    job: TrainingJob,
    policy: Any,
    steps: Sequence[Step],
    objective: WatchedObjective,
    digest: str,
) -> LoopResult:
    """Train the policy through all steps; ``digest`` is that of the rows and their labels."""
    key = {
        "method": how.name, "options": how.model_dump_json(), "rows": digest,
        "origin": start.origin, "adapter": job.adapter.model_dump_json() if job.adapter else "",
    }  # fmt: skip
    settings = LoopSettings(
        learning_rate=how.learning_rate, warmup=how.warmup, schedule=how.schedule,
        dtype=computing_dtype(how.dtype),
    )  # fmt: skip
    reporting = replace(job, report=lambda point: job.report({**point, **objective.watched()}))
    return run_loop(policy, steps, objective, settings, reporting, key)


def answer_logprobs(forward: Forward, rows: TokenRows, some: Indices | None = None) -> Logprobs:
    """Return the model's log-probability of every answer (or of some), in fp32, without dropout.

    Give the `Forward` that training used, if any: another would keep the attention kind that
    training left behind, and a resumed run, which did not train, would measure with a different
    one.
    """
    import numpy as np

    asked = np.arange(len(rows)) if some is None else some
    model = forward.model
    size = Size(4096).for_vocabulary(forward.inner.config.get_text_config().vocab_size)
    batches = plan(rows.lengths[asked], size, 0, epochs=1.0)
    training = model.training
    model.eval()
    values = sequence_logprobs(forward, rows, [asked[b] for step in batches for b in step])
    model.train(training)
    return values[asked]
