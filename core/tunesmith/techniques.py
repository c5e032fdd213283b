"""What each family of techniques promises: its options and one verb.

A technique is one class. Its fields are its options (they come from the config, and their
docstrings become the help text), its verb does the work, and it never holds weights. Heavy
libraries are imported inside the verb, so that listing every technique imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from tunesmith.records import (
    Completion,
    Generation,
    Label,
    Message,
    Outcome,
    Pair,
    Reply,
    Row,
    Score,
    Scorer,
    Token,
    TrainingJob,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from tunesmith.evidence.measurements import Evidence, Measurement, Verdict


class Technique(BaseModel):
    """One named way of doing something, with typed options."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    family: ClassVar[str] = ""
    """The family's name as the documentation writes it, e.g. ``Sampler``."""
    hook: ClassVar[str] = ""
    """The hook through which plugins offer classes of this family."""
    name: ClassVar[str] = ""
    """What a config calls this technique."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Importable modules this technique cannot work without; preflight checks them."""

    def problems(self) -> list[str]:
        """Return what preflight should refuse, one sentence each; cheap, no heavy imports."""
        return []

    def lacks(self) -> list[str]:
        """Return what this machine lacks for it besides modules: a GPU, another environment.

        Preflight refuses it like a problem; the contract kit then tries no promise that runs it.
        """
        return []


class DatasetSource(Technique):
    """Where examples come from."""

    family = "DatasetSource"
    hook = "register_dataset_sources"

    def rows(self) -> Iterator[Row]:
        """Yield rows of a TRL dataset type; raise DataError naming the place of a bad one."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return what the rows depend on besides the options, e.g. a file's sha256."""
        return ""


class DatasetFilter(Technique):
    """Ways to drop or clean rows before anything learns from them."""

    family = "DatasetFilter"
    hook = "register_dataset_filters"

    def apply(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows that stay, changed or not, in order."""
        raise NotImplementedError


class Task(Technique):
    """Something a model is asked to do, and how an answer is scored."""

    family = "Task"
    hook = "register_tasks"
    title: ClassVar[str] = ""
    """What people call it, e.g. ``maths reasoning``."""
    metric: ClassVar[str] = "exact"
    """The name of the number that ``score`` gives, e.g. ``exact``, ``chrF``, ``pass@1``."""
    one_answer: ClassVar[bool] = True
    """False when right answers differ in their words, so that there is nothing to count votes of.
    """
    max_new_tokens: int = 128
    """Longest answer, in tokens."""

    def question(self, row: Row) -> str:
        """Return the question as a user would type it."""
        if "question" in row:
            return str(row["question"])
        return str(row["prompt"][-1]["content"])

    def score(self, row: Row, answer: str) -> Score:
        """Score one answer against the row's ``reference``."""
        raise NotImplementedError


class Ask(Protocol):
    """A model that can be asked: what a prompt style drives."""

    def __call__(
        self,
        conversations: Sequence[list[Message]],
        sampler: Sampler | None = None,
        n: int = 1,
        max_new_tokens: int | None = None,
    ) -> list[list[Completion]]:
        """Return ``n`` completions per conversation, in order.

        Conversation ``i`` belongs to row ``i``: its draws hang on that row, the number of the call
        and the number of the sample alone. ``sampler`` None takes the evaluation's own, and
        ``max_new_tokens`` None the task's. Raises ModelError for what the context cannot hold.
        """
        ...


class PromptStyle(Technique):
    """Ways to put a question to a model: the messages, and how often it is asked."""

    family = "PromptStyle"
    hook = "register_prompt_styles"
    named_by: ClassVar[tuple[str, ...]] = ()
    """Options that, where they are set, name it in evidence in place of all the others."""

    @property
    def asks_once(self) -> bool:
        """Whether the answer to ``messages`` is the answer, so that it can be shown as it comes."""
        return type(self).answers is PromptStyle.answers

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return the conversation to complete; ``shots`` are solved rows it may show first."""
        raise NotImplementedError

    def answers(
        self, task: Task, rows: Sequence[Row], shots: Sequence[Row], ask: Ask
    ) -> list[Reply]:
        """Return one reply per row; a style that asks more than once overrides this."""
        said = ask([self.messages(task, row, shots) for row in rows])
        return [Reply.of(completions) for completions in said]

    def problems_with_task(self, task: Task) -> list[str]:
        """Return why this style makes no sense for a task, one sentence each; for preflight."""
        return []


class Adapter(Technique):
    """Ways to choose which parameters learn."""

    family = "Adapter"
    hook = "register_adapters"
    mergeable: ClassVar[bool] = True
    """False when what it learns is no change of weights; the model then stays on the reference
    engine, nothing is exported, and no other stage trains it further."""

    @property
    def positions(self) -> int:
        """How many positions of the model's context it takes up."""
        return 0

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the model with only this adapter's parameters trainable."""
        raise NotImplementedError

    def merge(self, model: Any) -> PreTrainedModel:
        """Return a plain model that computes the same function (merged in fp32).

        Raises ModelError when there is none.
        """
        raise NotImplementedError


class TrainingMethod(Technique):
    """Ways to change the weights."""

    family = "TrainingMethod"
    hook = "register_training_methods"
    rows_type: ClassVar[str] = ""
    """The TRL dataset type it learns from, e.g. ``prompt-completion``."""

    def train(self, job: TrainingJob) -> Outcome:
        """Train and write the model folder to ``job.out``; resumable through ``job.work``."""
        raise NotImplementedError


class Sampler(Technique):
    """Ways to reshape the logits before a token is drawn."""

    family = "Sampler"
    hook = "register_samplers"
    draws: ClassVar[bool] = True
    """False when the largest logit is taken instead of drawing."""
    searches: ClassVar[bool] = False
    """True when it chooses among whole answers: `search` is called, and `__call__` never."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits to draw from; shape (batch, vocabulary), masked entries are -inf.

        A sampler may take ``(logits, tokens)`` instead: one list per row with the prompt and all
        that was written so far, never padded.
        """
        raise NotImplementedError

    def search(
        self,
        model: PreTrainedModel,
        prompts: Sequence[list[int]],
        how: Generation,
        decode: Callable[[list[int]], str],
    ) -> list[Completion]:
        """Continue each prompt as `tunesmith.generation.reference.generate` does, in order.

        Wraps the reference engine, which has checked the request. A row's answer must follow from
        its prompt and its seed, whatever the other rows are.
        """
        raise NotImplementedError

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Return this sampler in the words of a fast engine, or None if it cannot say it."""
        return None


class PairSelector(Technique):
    """Ways to choose which two answers are compared."""

    family = "PairSelector"
    hook = "register_pair_selectors"

    def choose(self, answers: Sequence[str], rng: Random) -> tuple[int, int] | None:
        """Return the positions of two different answers, or None if there are none."""
        raise NotImplementedError


class FeedbackSource(Technique):
    """Who judges pairs of answers."""

    family = "FeedbackSource"
    hook = "register_feedback_sources"
    waits: ClassVar[bool] = False
    """True when labels come from people, so that the run has to wait for them."""
    simulated: ClassVar[bool] = False
    """True when no person was asked; every page and report then says so."""
    by_model: ClassVar[bool] = False
    """True when a language model judges instead of people; every page and report then says so."""

    def judge(self, pairs: Sequence[Pair], seed: int) -> list[Label]:
        """Return labels for the pairs; a source that waits is never asked."""
        raise NotImplementedError

    def utility(self, pair: Pair, answer: str) -> float | None:
        """Return the noiseless worth of an answer where it is known, else None."""
        return None

    def quality(self, labels: Sequence[Label]) -> dict[str, float]:
        """Return what the source knows of its own labels, e.g. how often places decided."""
        return {}


class RewardModel(Technique):
    """Ways to score a completion as people would."""

    family = "RewardModel"
    hook = "register_reward_models"
    rows_type: ClassVar[str] = "preference"
    """The TRL dataset type it learns from; ``prompt-only`` for a rule, which needs no labels."""

    def fit(self, job: TrainingJob) -> Outcome:
        """Learn from rows of its type; write what ``open`` needs to ``job.out``."""
        raise NotImplementedError

    def open(self, folder: Path) -> Scorer:
        """Return the scorer that ``fit`` left in a folder."""
        raise NotImplementedError


class Distiller(Technique):
    """Ways to teach a small model what a large one knows."""

    family = "Distiller"
    hook = "register_distillers"
    needs_student: ClassVar[bool] = False
    """True when it cannot begin a student of its own: `student` must name a folder."""

    def distil(self, teacher: Path, job: TrainingJob) -> Outcome:
        """Train a student towards the teacher and write it to ``job.out``."""
        raise NotImplementedError


class Quantizer(Technique):
    """Ways to store weights in fewer bits."""

    family = "Quantizer"
    hook = "register_quantizers"
    engine: ClassVar[str] = "transformers"
    """The engine that runs what this quantizer writes."""
    unchanged: ClassVar[dict[str, Any] | None] = None
    """Options with which it stores every weight as it is, for its engine to run; None: it cannot.

    So a parent gets to that engine, and the two are compared there."""

    def quantize(self, model_dir: Path, out: Path) -> Outcome:
        """Write a smaller model to ``out``; metrics hold ``bytes`` and ``bits_per_weight``."""
        raise NotImplementedError

    def objections(self, model: Path) -> list[str]:
        """Return why a model has no form that this writes; cheap, it reads the config alone."""
        return []


class Accelerator(Technique):
    """Ways to make an engine faster without changing what it says."""

    family = "Accelerator"
    hook = "register_accelerators"
    engine: ClassVar[str] = ""
    """The engine this setting is for."""
    engines: ClassVar[tuple[str, ...]] = ()
    """The engines it is for, where they are several."""

    @classmethod
    def runs_on(cls) -> tuple[str, ...]:
        """Return the names of the engines it is for."""
        return cls.engines or (cls.engine,)

    def options(self) -> dict[str, Any]:
        """Return the engine options that switch it on."""
        raise NotImplementedError

    def options_for(self, engine: str) -> dict[str, Any]:
        """Return the options in one engine's words, for a technique whose engines differ."""
        return self.options()


class OpenEngine(Protocol):
    """A model ready to continue prompts."""

    def generate(self, prompts: Sequence[list[int]], how: Generation) -> list[Completion]:
        """Continue each prompt (token ids); one completion per prompt, in order."""
        ...


@runtime_checkable
class StreamingEngine(OpenEngine, Protocol):
    """What an open engine may also do: hand over each token as soon as it is written."""

    def stream(self, prompt: list[int], how: Generation, top: int | None = None) -> Iterator[Token]:
        """Continue one prompt with ``how.seeds[0]``: the tokens that ``generate`` returns.

        ``top`` asks for log-probabilities and for that many alternatives; None for neither.
        Closing the iterator ends the work. Raises ModelError as ``generate`` does.
        """
        ...


class Engine(Technique):
    """What runs a model."""

    family = "Engine"
    hook = "register_engines"

    def chosen(self, model: Path, sampler: Sampler) -> Engine:
        """Return the engine that is meant for a model and a way to draw: itself, or its choice.

        Preflight asks once, and what it returns is part of the stage's key and of the run.
        """
        return self

    def suited(self, model: Path, streams: int) -> Engine:
        """Return the engine with the options it should have for so many answers at once."""
        return self

    def open(self, model: Path) -> AbstractContextManager[OpenEngine]:
        """Load a model folder; leaving the context frees it."""
        raise NotImplementedError

    def reads(self, model: Path) -> bool:
        """Say whether this engine can run what is in the folder."""
        raise NotImplementedError


class Evaluator(Technique):
    """Ways to measure a model, each giving named numbers with their per-item values."""

    family = "Evaluator"
    hook = "register_evaluators"

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """Return measurements computed from the answers that were collected."""
        raise NotImplementedError


class Gate(Technique):
    """Rules that evidence must satisfy before a model goes on."""

    family = "Gate"
    hook = "register_gates"

    def decide(self, measurements: Sequence[Measurement]) -> Verdict:
        """Return whether the evidence passes, and why, in words."""
        raise NotImplementedError


class Deployer(Technique):
    """Places to put a released model."""

    family = "Deployer"
    hook = "register_deployers"

    def deploy(self, bundle: Path) -> dict[str, Any]:
        """Put the bundle in its place and return where it is."""
        raise NotImplementedError


FAMILIES: tuple[type[Technique], ...] = (
    DatasetSource,
    DatasetFilter,
    Task,
    PromptStyle,
    Adapter,
    TrainingMethod,
    Sampler,
    PairSelector,
    FeedbackSource,
    RewardModel,
    Distiller,
    Quantizer,
    Accelerator,
    Engine,
    Evaluator,
    Gate,
    Deployer,
)
"""Every family, in the order a model meets them."""
