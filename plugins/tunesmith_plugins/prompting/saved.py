"""Ask as a saved prompt says: its system text, template, style, examples and sampler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tunesmith import (
    Ask,
    Completion,
    DataError,
    Message,
    PromptStyle,
    Reply,
    Row,
    Sampler,
    Task,
    hookimpl,
    plugins,
)
from tunesmith.config import Of, Spec
from tunesmith.prompts import Conversation, conversation

_QUESTION = "{question}"
_PINNED = re.compile(r"[^@]+@\d+")


class Shot(BaseModel):
    """A solved question that is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1)
    """The question, as the template gets it."""
    answer: str = Field(min_length=1)
    """What the model is shown to have answered."""


class Saved(PromptStyle):
    """Ask as one version of a saved prompt says (`tunesmith prompt save`).

    A config gives `prompt` alone; `tunesmith plan` and `run` look the version up and put what it
    says into the other options.
    """

    name = "saved"
    named_by: ClassVar[tuple[str, ...]] = ("prompt",)

    prompt: str = ""
    """Which one: `NAME@VERSION`, `NAME@ALIAS`, or `NAME` for its newest version."""
    system: str = ""
    """The system turn; empty: the row's own, if it has one."""
    template: str = _QUESTION
    """The user turn, in which `{question}` stands for the question."""
    style: Annotated[Spec, Of(PromptStyle)] = {"name": "zero_shot"}
    """How the templated question is put."""
    shots: tuple[Shot, ...] = ()
    """Solved questions that the style shows; none: those of the data."""
    sampler: Annotated[Spec | None, Of(Sampler)] = None
    """How answers are drawn, whatever the evaluation says; null: as it says."""

    def problems(self) -> list[str]:
        """Refuse a template without its question, examples nobody shows, a prompt in a prompt."""
        if self.prompt and not _PINNED.fullmatch(self.prompt):
            return [f"{self.prompt} was not looked up; a saved prompt is known by its version."]
        if self.style.get("name") == self.name:
            return ["A saved prompt cannot have the style `saved`; name the style it means."]
        found = list(self._style().problems())
        if self.template.count(_QUESTION) != 1:
            found.append(f"saved.template must hold {_QUESTION} once; it is {self.template!r}.")
        return [*found, *self._unshown()]

    def problems_with_task(self, task: Task) -> list[str]:
        """Return what its style objects to."""
        return self._style().problems_with_task(task)

    @property
    def asks_once(self) -> bool:
        """Whether its style does."""
        return self._style().asks_once

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return what its style makes of the templated question."""
        return self._style().messages(task, self._put(task, row), self._shown(task, shots))

    def answers(
        self, task: Task, rows: Sequence[Row], shots: Sequence[Row], ask: Ask
    ) -> list[Reply]:
        """Return its style's answers, drawn with its own sampler where it has one."""
        put, shown = [self._put(task, row) for row in rows], self._shown(task, shots)
        return self._style().answers(task, put, shown, self._asking(ask))

    def _style(self) -> PromptStyle:
        return plugins.build(PromptStyle, self.style)

    def _asking(self, ask: Ask) -> Ask:
        if self.sampler is None:
            return ask
        own = plugins.build(Sampler, self.sampler)

        def drawn(
            conversations: Sequence[list[Message]],
            sampler: Sampler | None = None,
            n: int = 1,
            max_new_tokens: int | None = None,
        ) -> list[list[Completion]]:
            return ask(conversations, sampler or own, n, max_new_tokens)

        return drawn

    def _put(self, task: Task, row: Row) -> Row:
        """Return a row whose question is the templated one, after the system turn."""
        question = self.template.replace(_QUESTION, task.question(row))
        turns = conversation(task, row, question)
        if self.system:
            others = [turn for turn in turns if turn["role"] != "system"]
            turns = [{"role": "system", "content": self.system}, *others]
        changed: dict[str, Any] = {"prompt": turns}
        return {**row, **changed, **({"question": question} if "question" in row else {})}

    def _shown(self, task: Task, shots: Sequence[Row]) -> Sequence[Row]:
        rows = [self._row(number, shot, task) for number, shot in enumerate(self.shots)] or shots
        if self.template == _QUESTION:
            return rows
        return [self.model_copy(update={"system": ""})._put(task, row) for row in rows]

    def _row(self, number: int, shot: Shot, task: Task) -> Row:
        return {
            "id": f"saved-{number}",
            "task": task.name,
            "prompt": [{"role": "user", "content": shot.question}],
            "completion": [{"role": "assistant", "content": shot.answer}],
        }

    def _unshown(self) -> list[str]:
        """Say that its examples would not be shown, tried on a question of no importance."""
        if not self.shots:
            return []
        row = {"id": "tried", "prompt": [{"role": "user", "content": "\u2753"}]}
        try:
            turns = self.messages(Conversation(), row, ())
        except DataError as error:
            return [str(error)]
        said = "\n".join(turn["content"] for turn in turns)
        if any(shot.answer in said for shot in self.shots):
            return []
        return [
            f"The style {self.style['name']} shows no examples, and the prompt has"
            f" {len(self.shots)}. Use few_shot, or leave the shots out."
        ]


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer saved prompts."""
    return [Saved]
