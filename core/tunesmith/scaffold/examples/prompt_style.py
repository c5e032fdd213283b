"""Say how to answer before the question is asked."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import Message, PromptStyle, Row, Task, hookimpl


class Example(PromptStyle):
    """Put one instruction into the system turn, then ask."""

    name = "example"
    instruction: str = "Answer in one short sentence."
    """What the model is told first."""

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return a system turn, the turns that led to the question, and the question."""
        earlier = list(row["prompt"][:-1]) if isinstance(row.get("prompt"), list) else []
        told = [turn["content"] for turn in earlier if turn["role"] == "system"]
        system = {"role": "system", "content": "\n".join([*told, self.instruction])}
        others = [dict(turn) for turn in earlier if turn["role"] != "system"]
        return [system, *others, {"role": "user", "content": task.question(row)}]


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer the style."""
    return [Example]
