"""The plain records that techniques and stages hand to each other.

Shapes: ``ids`` is a list of token ids of one sequence; lists of sequences are ragged, never padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.chat import Prompt
    from tunesmith.techniques import Adapter, Sampler

Row = dict[str, Any]
"""One training or evaluation example; its columns are those of a TRL dataset type."""

Message = dict[str, str]
"""One turn of a conversation: ``{"role": "user", "content": "..."}``."""

Spec = dict[str, Any]
"""What a config says of one technique: ``{"name": "min_p", "p": 0.05}``."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a task says of one answer: ``value`` in 0..1, ``correct`` when it counts as solved."""

    value: float
    correct: bool
    extracted: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine made of one prompt."""

    ids: list[int]
    text: str
    finish: str
    """``stop`` (the model ended its turn) or ``length`` (the token limit was reached)."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token, as an engine that streams writes it; the last one may be a stop token."""

    id: int
    logprob: float | None = None
    """Natural logarithm of its probability under the model itself, before any sampler; None where
    nobody asked."""
    top: tuple[tuple[int, float], ...] = ()
    """The most probable tokens of its place, best first: (id, logprob)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer that counts for one row, and what it took to get it.

    ``tokens`` counts everything the model wrote for it, ``calls`` how many completions that were.
    """

    text: str
    finish: str = "stop"
    tokens: int = 0
    calls: int = 1
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, written: Sequence[Completion], chosen: int = -1, details: dict[str, Any] | None = None
    ) -> Reply:
        """Return the reply whose answer is one of the completions that were written for it."""
        answer = written[chosen]
        tokens = sum(len(one.ids) for one in written)
        return cls(answer.text, answer.finish, tokens, len(written), details or {})


@dataclass(frozen=True, slots=True)
class Generation:
    """How to continue prompts: the sampler, the limits, and one seed per prompt."""

    sampler: Sampler
    max_new_tokens: int
    seeds: Sequence[int]
    stop_ids: tuple[int, ...]
    batch_size: int = 64
    conversations: Sequence[Prompt] = ()
    """What the prompts say, one per prompt where it is known; a reward model reads it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, to be compared. ``id`` depends on their content alone."""

    id: str
    task: str
    prompt: list[Message]
    first: str
    second: str
    reference: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Label:
    """One annotator's verdict on a pair: first, second, tie, both_bad or skip."""

    pair_id: str
    annotator: str
    verdict: str
    shown_first: str = "first"
    """Which of the two stood on the left."""
    strength: float | None = None
    source: str = "human"
    details: dict[str, Any] = field(default_factory=dict)


Report = Callable[[dict[str, Any]], None]
"""Receives a point of a curve: ``{"step": 10, "steps": 200, "loss": 1.2}``."""

Scorer = Callable[[Sequence[list[Message]], Sequence[str]], list[float]]
"""Scores completions: ``(prompts, completions) -> rewards``, one float each.

One that must see each prompt's row, such as its reference answer, also has
``with_rows(rows, completions)``; `tunesmith.scorers.score_rows` asks either kind.
"""


def _quiet(point: dict[str, Any]) -> None:
    """Drop a curve point."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class TrainingJob:
    """Everything a training method needs.

    ``model_dir`` is a folder in Hugging Face layout, or None to start from scratch. ``out``
    receives the trained model in the same layout. ``work`` outlives a kill: checkpoints go there,
    and a job started again with the same ``work`` goes on from the newest one and ends with the
    same bytes.
    """

    rows: Sequence[Row]
    out: Path
    work: Path
    seed: int
    model_dir: Path | None = None
    eval_rows: Sequence[Row] = ()
    adapter: Adapter | None = None
    reward: Scorer | None = None
    report: Report = _quiet
    should_stop: Callable[[], bool] = _never


@dataclass(slots=True)
class Outcome:
    """What a stage or a training method leaves behind beside its files.

    ``metrics`` are deterministic and become part of the artifact; ``timings`` (seconds, tokens per
    second, bytes of memory) are stored with the run only, so that digests never depend on speed.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
