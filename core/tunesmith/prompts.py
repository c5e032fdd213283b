"""Put a question where it belongs: at the end of the conversation that leads to it."""

from __future__ import annotations

from tunesmith.errors import DataError
from tunesmith.records import Message, Row
from tunesmith.techniques import Task


def conversation(task: Task, row: Row, question: str | None = None) -> list[Message]:
    """Return the turns before the row's question, if any, and then the question as a user turn."""
    asked = task.question(row) if question is None else question
    prompt = row.get("prompt")
    earlier = prompt[:-1] if isinstance(prompt, list) else []
    return [*(dict(turn) for turn in earlier), {"role": "user", "content": asked}]


def answer_of(row: Row) -> str:
    """Return the answer a solved row carries; raise DataError when it carries none."""
    if not row.get("completion"):
        raise DataError(
            f"Row {row.get('id', '?')} has no completion, so it cannot serve as an example."
        )
    return str(row["completion"][-1]["content"])
