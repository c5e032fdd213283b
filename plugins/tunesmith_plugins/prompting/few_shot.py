"""Show solved examples before the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Literal

from pydantic import Field

from tunesmith import DataError, Message, PromptStyle, Row, Task, hookimpl
from tunesmith.prompts import answer_of, conversation


class FewShot(PromptStyle):
    """Show solved questions as earlier turns (Brown et al. 2020)."""

    name = "few_shot"
    shots: int = Field(default=4, ge=1)
    """How many solved questions to show."""
    selection: Literal["fixed", "random", "most_similar"] = "fixed"
    """Which ones: always the first, drawn anew for every question, or those that share most words
    with the question (Liu et al. 2022), the most similar one last."""
    seed: int = 0
    """Seed of the random selection."""

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return solved questions and answers as turns, then the question as a user turn.

        Raise DataError when there are fewer solved rows than ``shots``, the row itself left out.
        """
        asked = task.question(row)
        chosen = self._chosen(task, row, asked, _others(task, row, asked, shots, self._enough()))
        turns: list[Message] = []
        for shot in chosen:
            turns.append({"role": "user", "content": task.question(shot)})
            turns.append({"role": "assistant", "content": answer_of(shot)})
        earlier = conversation(task, row)
        system = earlier[:1] if earlier[0]["role"] == "system" else []
        return [*system, *turns, *earlier[len(system) :]]

    def _enough(self) -> int | None:
        return self.shots if self.selection == "fixed" else None

    def _chosen(self, task: Task, row: Row, asked: str, pool: list[Row]) -> list[Row]:
        if len(pool) < self.shots:
            raise DataError(
                f"few_shot needs {self.shots} solved rows of {task.name}, but there are"
                f" {len(pool)}. Lower shots, or give more train rows."
            )
        if self.selection == "random":
            return Random(f"{self.seed}/{row.get('id', asked)}").sample(pool, self.shots)
        if self.selection == "most_similar":
            ranked = sorted(pool, key=lambda shot: -similarity(asked, task.question(shot)))
            return ranked[: self.shots][::-1]
        return pool


def _others(
    task: Task, row: Row, asked: str, shots: Sequence[Row], enough: int | None
) -> list[Row]:
    """Return solved rows of the same task that are not the row itself or one of its group."""
    found: list[Row] = []
    for shot in shots:
        if len(found) == enough:
            break
        kin = "group" in row and shot.get("group") == row["group"]
        other_task = shot.get("task", task.name) != task.name
        if not (kin or other_task or task.question(shot) == asked):
            found.append(shot)
    return found


def similarity(first: str, second: str) -> float:
    """Return the share of common words among all words of two texts (Jaccard), 0 to 1."""
    one, two = _words(first), _words(second)
    return len(one & two) / len(one | two) if one or two else 0.0


@lru_cache(maxsize=1 << 16)
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer few-shot prompts."""
    return [FewShot]
