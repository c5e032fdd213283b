"""The records that evidence is made of; all of them go to JSON and back unchanged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's answer to one item of a task."""

    model: str
    """Which model of the run: ``base``, ``tuned``, ``aligned``, ``quantized``, ..."""
    task: str
    item: str
    question: str
    text: str
    value: float
    correct: bool
    tokens: int
    style: str = "zero_shot"
    finish: str = "stop"
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Duel:
    """Two models' answers to one prompt, and the noiseless worth of each."""

    item: str
    task: str
    model: str
    baseline: str
    answer: str
    baseline_answer: str
    utility: float
    baseline_utility: float
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one model costs: stored size and, outside every digest, its speed."""

    model: str
    engine: str
    bytes: int
    bits_per_weight: float
    answers: int = 0
    new_tokens: int = 0
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was collected about the models of a run before it is judged.

    ``parents`` maps a model to the one it must be compared with, on the same engine.
    """

    answers: Sequence[Answer] = ()
    duels: Sequence[Duel] = ()
    footprints: Sequence[Footprint] = ()
    parents: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    judged_by: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its 95 % interval.

    With a ``baseline`` the value is a paired difference (model minus baseline) in the same unit.
    """

    name: str
    model: str
    value: float
    low: float
    high: float
    n: int
    unit: str = ""
    baseline: str | None = None
    task: str | None = None
    higher_is_better: bool = True
    method: str = ""
    per_item: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return a name that is unique within one evaluation."""
        return f"{self.name}/{self.model}" + (f"-vs-{self.baseline}" if self.baseline else "")

    @property
    def lowest(self) -> float:
        """Return the lower bound, but no better than so few items allow.

        Where no item of n tells two models apart a bootstrap sees no doubt at all; up to 3/n may
        have been lost all the same (rule of three: Hanley and Lippman-Hand 1983).
        """
        return min(self.low, -3 / self.n) if self.n else -math.inf

    @property
    def finite(self) -> bool:
        """Say whether value and interval are numbers; a NaN never passes a gate."""
        return all(math.isfinite(v) for v in (self.value, self.low, self.high))

    def significance(self) -> str:
        """Say in words what a difference shows."""
        if self.baseline is None:
            return ""
        if not self.finite:
            return "not measurable"
        if self.low <= 0 <= self.high:
            return "not significant"
        better = (self.value > 0) == self.higher_is_better
        return "significantly better" if better else "significantly worse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate decided, with the sentence that a person reads."""

    gate: str
    passed: bool
    reason: str
    measurements: Sequence[str] = ()
    """Keys of the measurements it looked at."""


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    """Write dataclasses as JSON lines; keys keep their order, so equal records give equal bytes."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def read_json_lines(path: Path, build: Callable[..., Any]) -> list[Any]:
    """Read what ``write_json_lines`` wrote; raise ArtifactError naming a bad line."""
    records = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                records.append(build(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ArtifactError(
                    f"{path}:{number} is not a {build.__name__}: {error}"
                ) from error
    return records
