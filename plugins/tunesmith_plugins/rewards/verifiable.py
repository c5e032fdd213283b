"""A rule instead of a judge: the task itself says what an answer is worth.

Source: Lambert et al., "Tulu 3: Pushing Frontiers in Open Language Model Post-Training", 2024,
section 6 (reinforcement learning with verifiable rewards), https://arxiv.org/abs/2411.15124; the
exact answer of mathematics as reward for GRPO: Shao et al., "DeepSeekMath", 2024,
https://arxiv.org/abs/2402.03300.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith import (
    DataError,
    Message,
    ModelError,
    Outcome,
    RewardModel,
    Row,
    Scorer,
    Task,
    TrainingJob,
    hookimpl,
    plugins,
)
from tunesmith.errors import did_you_mean
from tunesmith.nesting import Nested

FILE = "verifiable.json"


class Verifiable(RewardModel):
    """The task's own score: an exact answer, unit tests, chrF; nobody has to label anything."""

    name = "verifiable"
    rows_type = "prompt-only"

    task: Annotated[Task, Nested()] | None = Field(default=None, examples=["maths_reasoning"])
    """The task that scores every answer; null: the one that each row names under `task`."""
    score: Literal["value", "correct"] = "value"
    """`value`: the task's score, 0 to 1, which may be partial; `correct`: 1 for a solved row and 0
    for all others."""

    def fingerprint(self) -> str:
        """Return a hash of the tasks that may score, which rows and not this config name."""
        if self.task is not None:
            return ""
        known = plugins.host().available(Task)
        sources = [f"{name} {plugins.source_hash(kind)}" for name, kind in sorted(known.items())]
        return hashlib.sha256("\n".join(sources).encode()).hexdigest()

    def fit(self, job: TrainingJob) -> Outcome:
        """Write which rule it is, which learns nothing; DataError for rows it cannot score."""
        for row in job.rows:
            self.reward(row, "")
        text = json.dumps(self._rule(), indent=2, sort_keys=True)
        (job.out / FILE).write_text(text + "\n", encoding="utf-8")
        return Outcome({"rows": len(job.rows)})

    def open(self, folder: Path) -> Scorer:
        """Return the scorer, which must be asked with the prompts' rows."""
        path = folder / FILE
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder} holds no rule: {path.name} {error}.") from error
        if written != self._rule():
            raise ModelError(f"{path} holds another rule, {written}; this one is {self._rule()}.")
        return OpenVerifiable(self)

    def reward(self, row: Row, answer: str) -> float:
        """Return what an answer to a row is worth; DataError for a row that cannot be scored."""
        found = self._task(row).score(row, answer)
        return float(found.correct) if self.score == "correct" else found.value

    def problems_with_rows(self, rows: Sequence[Row]) -> list[str]:
        """Return why these rows cannot be scored, the first reason only; for preflight."""
        try:
            for row in rows:
                self.reward(row, "")
        except DataError as error:
            return [str(error)]
        return []

    def _task(self, row: Row) -> Task:
        if self.task is not None:
            return self.task
        name, known = row.get("task"), plugins.host().available(Task)
        if name not in known:
            said = f"no Task is named {name!r}" if name else "it names no task"
            raise DataError(
                f"verifiable cannot score row {row.get('id', '?')}: {said}."
                f"{did_you_mean(str(name), known)} Say `task: ...` in the row's source, or give"
                f" the reward a `task`. Installed: {', '.join(known)}."
            )
        return plugins.build(Task, str(name))

    def _rule(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class OpenVerifiable:
    """The scorer: ``with_rows(rows, completions) -> rewards``; the conversation is not enough."""

    def __init__(self, rule: Verifiable) -> None:
        self.rule = rule
        text = json.dumps(rule.model_dump(mode="json"), sort_keys=True) + rule.fingerprint()
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, prompts: Sequence[list[Message]], completions: Sequence[str]) -> list[float]:
        """Refuse: what is right stands in the row."""
        raise ModelError(
            "verifiable compares answers with what each prompt's row knows, and got conversations"
            " only. Use it as the reward of grpo or rloo; a sampler has no rows."
        )

    def with_rows(self, rows: Sequence[Row], completions: Sequence[str]) -> list[float]:
        """Return each completion's reward, 0 to 1."""
        return [self.rule.reward(*both) for both in zip(rows, completions, strict=True)]


@hookimpl
def register_reward_models() -> list[type[RewardModel]]:
    """Offer the technique."""
    return [Verifiable]
