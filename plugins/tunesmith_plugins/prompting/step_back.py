"""Ask for the principle first, then for the answer.

Source: Zheng et al., "Take a Step Back: Evoking Reasoning via Abstraction in Large Language
Models", ICLR 2024, https://arxiv.org/abs/2310.06117.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from tunesmith import Ask, Message, PromptStyle, Reply, Row, Task, hookimpl
from tunesmith.prompts import conversation


class StepBack(PromptStyle):
    """Ask a more general question first, and answer with that as context (Zheng et al. 2023).

    Two calls per row: the model's own answer to the first stands before the question of the second.
    """

    name = "step_back"
    abstraction: str = "\nDo not solve this yet. Which general rule does it come down to?"
    """What follows the question in the first call, to make it the more general one."""
    instruction: str = "\nNow apply the rule, step by step."
    """What follows the question in the second call."""
    rule_tokens: int = Field(default=64, ge=1)
    """Longest answer to the first call, in tokens."""

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return the first call: the question and the abstraction as a user turn."""
        return conversation(task, row, task.question(row) + self.abstraction)

    def answers(
        self, task: Task, rows: Sequence[Row], shots: Sequence[Row], ask: Ask
    ) -> list[Reply]:
        """Return the second call's answers; ``details`` hold what the first ones said, ``rule``."""
        first = [self.messages(task, row, shots) for row in rows]
        rules = [said[0] for said in ask(first, max_new_tokens=self.rule_tokens)]
        second = [
            self.second(task, row, asked, rule.text)
            for row, asked, rule in zip(rows, first, rules, strict=True)
        ]
        return [
            Reply.of([rule, *said], details={"rule": rule.text})
            for rule, said in zip(rules, ask(second), strict=True)
        ]

    def second(self, task: Task, row: Row, first: list[Message], rule: str) -> list[Message]:
        """Return the second call: the first with its answer, then the question itself.

        A model that had nothing to say is asked the question alone: templates refuse empty turns.
        """
        asked: Message = {"role": "user", "content": task.question(row) + self.instruction}
        if not rule.strip():
            return [*first[:-1], asked]
        return [*first, {"role": "assistant", "content": rule.strip()}, asked]


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer step-back prompts."""
    return [StepBack]
