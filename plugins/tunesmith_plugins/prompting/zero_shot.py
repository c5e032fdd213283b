"""Ask the question as it is."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import Message, PromptStyle, Row, Task, hookimpl
from tunesmith.prompts import conversation


class ZeroShot(PromptStyle):
    """Ask the question and nothing else."""

    name = "zero_shot"

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return the question as a user turn, after the turns that lead to it."""
        return conversation(task, row)


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer zero-shot prompts."""
    return [ZeroShot]
