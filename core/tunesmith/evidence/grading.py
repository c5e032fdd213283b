"""Turn what a prompt style got out of a model into scored answers."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.errors import ConfigError
from tunesmith.evidence.measurements import Answer
from tunesmith.promises import listed, returned
from tunesmith.prompts import label
from tunesmith.records import Reply, Row, Score
from tunesmith.techniques import Ask, PromptStyle, Task


def sit(
    model: str, task: Task, style: PromptStyle, rows: Sequence[Row], shots: Sequence[Row], ask: Ask
) -> list[Answer]:
    """Ask every row in one style and score the replies; one answer per row, in order.

    Raises ConfigError when the style makes no sense for the task.
    """
    if problems := style.problems_with_task(task):
        raise ConfigError(" ".join(problems))
    replies = listed(style, "answers", style.answers(task, rows, shots, ask), Reply, len(rows))
    return [
        _answer(model, task, style, row, reply) for row, reply in zip(rows, replies, strict=True)
    ]


def _answer(model: str, task: Task, style: PromptStyle, row: Row, reply: Reply) -> Answer:
    score = returned(task, "score", task.score(row, reply.text), Score)
    return Answer(
        model=model,
        task=task.name,
        item=str(row["id"]),
        question=task.question(row),
        text=reply.text,
        value=score.value,
        correct=score.correct,
        tokens=reply.tokens,
        style=label(style),
        finish=reply.finish,
        details=reply.details,
    )
