"""Ask for the steps before the answer."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import Message, PromptStyle, Row, Task, hookimpl
from tunesmith.prompts import conversation


class ChainOfThought(PromptStyle):
    """Ask the question and invite the model to think first (Kojima et al. 2022)."""

    name = "chain_of_thought"
    instruction: str = "\nLet's think step by step."
    """What follows the question."""

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return the question with the instruction as a user turn."""
        return conversation(task, row, task.question(row) + self.instruction)


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer chain-of-thought prompts."""
    return [ChainOfThought]
