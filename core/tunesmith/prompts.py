"""Put a question at the end of the conversation that leads to it, and name how it was put."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from tunesmith.errors import DataError
from tunesmith.records import Message, Row, Score
from tunesmith.techniques import PromptStyle, Task


class Conversation(Task):
    """No task in particular: the last user turn is the question, and nothing is scored."""

    name = "conversation"
    title = "conversation"
    one_answer = False

    def score(self, row: Row, answer: str) -> Score:
        """Find every answer equally good."""
        return Score(0.0, False, answer)


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


def label(style: PromptStyle) -> str:
    """Return what evidence calls a style: its name, and every option that is not the default.

    ``few_shot(shots=2, selection=random)``. A style may say which options name it. Long values are
    stood in for by the start of their hash, so that two styles have the same label only if they ask
    alike.
    """
    fields = type(style).model_fields
    named = [key for key in style.named_by if getattr(style, key)]
    said = [
        f"{key}={_short(getattr(style, key))}"
        for key, field in fields.items()
        if not named or key in named
        if getattr(style, key) != field.get_default(call_default_factory=True)
    ]
    return f"{style.name}({', '.join(said)})" if said else style.name


def _short(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"name"}:
        return _short(value["name"])
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    if re.fullmatch(r"[\w.+@-]{1,24}|[\w.-]{1,64}@\d+", text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:6]
