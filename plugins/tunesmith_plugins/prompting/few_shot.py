"""Show solved examples before the question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import ClassVar, Literal

from pydantic import Field

from tunesmith import DataError, Message, PromptStyle, Row, Task, hookimpl
from tunesmith.prompts import answer_of, conversation
from tunesmith_plugins.prompting.nearest import ranked


class FewShot(PromptStyle):
    """Show solved questions and their answers as earlier turns (Brown et al. 2020).

    Rows whose ``style`` is chain_of_thought are left to `few_shot_cot`.
    """

    name = "few_shot"
    wanted: ClassVar[str] = "solved rows"
    """What a row must be to be shown, for error messages."""

    shots: int = Field(default=4, ge=1)
    """How many solved questions to show."""
    selection: Literal["fixed", "random", "most_similar"] = "fixed"
    """Which ones: always the first, drawn anew for every question, or those whose questions are
    nearest to it (Liu et al. 2022), the nearest one last."""
    seed: int = 0
    """Seed of the random selection."""

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return solved questions and answers as turns, then the question as a user turn.

        Raise DataError when there are fewer rows to show than ``shots``, the row itself left out.
        """
        turns: list[Message] = []
        for shot in self.chosen(task, row, shots):
            turns.append({"role": "user", "content": self.put(task.question(shot))})
            turns.append({"role": "assistant", "content": answer_of(shot)})
        earlier = conversation(task, row, self.put(task.question(row)))
        system = earlier[:1] if earlier[0]["role"] == "system" else []
        return [*system, *turns, *earlier[len(system) :]]

    def put(self, question: str) -> str:
        """Return a question, shown or asked, as its user turn says it."""
        return question

    def shows(self, shot: Row) -> bool:
        """Say whether a solved row answers in the way this style shows."""
        return shot.get("style") != "chain_of_thought"

    def chosen(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Row]:
        """Return the rows to show, in the order of their turns."""
        fitting = self._ordered(task, row, shots)
        found = list(islice(fitting, self.shots if self.selection != "random" else None))
        if len(found) < self.shots:
            raise DataError(
                f"{self.name} needs {self.shots} {self.wanted} of {task.name}, but there are"
                f" {len(found)}. Lower shots, or give more train rows."
            )
        if self.selection == "random":
            name = row.get("id", task.question(row))
            return Random(f"{self.seed}/{name}").sample(found, self.shots)
        return found[::-1] if self.selection == "most_similar" else found

    def _ordered(self, task: Task, row: Row, shots: Sequence[Row]) -> Iterator[Row]:
        """Yield what may be shown, the first to be taken first."""
        order: Sequence[int] = range(len(shots))
        if self.selection == "most_similar":
            order = ranked([task.question(shot) for shot in shots], task.question(row))
        for number in order:
            if self.shows(shots[number]) and _is_other(task, row, shots[number]):
                yield shots[number]


def _is_other(task: Task, row: Row, shot: Row) -> bool:
    """Say whether a solved row is of the task, and neither the row itself nor one of its group."""
    if shot.get("task", task.name) != task.name:
        return False
    kin = "group" in row and shot.get("group") == row["group"]
    return not kin and task.question(shot) != task.question(row)


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer few-shot prompts."""
    return [FewShot]
