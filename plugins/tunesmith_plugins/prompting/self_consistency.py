"""Reason several times, and take the answer most of the attempts agree on.

Source: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models",
ICLR 2023, https://arxiv.org/abs/2203.11171.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import Field

from tunesmith import (
    Ask,
    Completion,
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


class SelfConsistency(PromptStyle):
    """Sample several reasoned answers and take the majority (Wang et al. 2022).

    The vote is over what the task extracts from each answer, such as the final number. A tie goes
    to the answer that was drawn first; a sample without an answer has no vote.
    """

    name = "self_consistency"
    samples: int = Field(default=8, ge=2)
    """Answers per question; the cost grows with it. The paper goes up to 40."""
    sampler: Annotated[Spec, Of(Sampler)] = {"name": "top_k", "k": 40, "temperature": 0.7}
    """How they are drawn, whatever `evaluate.sampler` says; the default is the paper's."""
    style: Annotated[Spec, Of(PromptStyle)] = {"name": "chain_of_thought"}
    """How each of them is asked for; `few_shot_cot` is the paper's."""

    def problems(self) -> list[str]:
        """Refuse a sampler that never draws, and a style that itself asks several times."""
        found = []
        sampler, style = plugins.build(Sampler, self.sampler), self._style()
        if not sampler.draws:
            found.append(f"self_consistency needs a sampler that draws; {sampler.name} does not.")
        if not style.asks_once:
            found.append(
                f"self_consistency samples styles that ask once; {style.name} asks several times."
            )
        return found

    def problems_with_task(self, task: Task) -> list[str]:
        """Refuse tasks whose right answers differ in words: no two samples would agree."""
        found = self._style().problems_with_task(task)
        if not task.one_answer:
            found.append(
                f"self_consistency counts votes for one answer, and right answers to {task.name}"
                " differ in their words. Use it for maths_reasoning."
            )
        return found

    def messages(self, task: Task, row: Row, shots: Sequence[Row]) -> list[Message]:
        """Return the conversation that every sample continues."""
        return self._style().messages(task, row, shots)

    def answers(
        self, task: Task, rows: Sequence[Row], shots: Sequence[Row], ask: Ask
    ) -> list[Reply]:
        """Return the first sample of each majority; ``details`` hold the ``votes``."""
        style, sampler = self._style(), plugins.build(Sampler, self.sampler)
        asked = [style.messages(task, row, shots) for row in rows]
        drawn = ask(asked, sampler=sampler, n=self.samples)
        return [_majority(task, row, said) for row, said in zip(rows, drawn, strict=True)]

    def _style(self) -> PromptStyle:
        return plugins.build(PromptStyle, self.style)


def _majority(task: Task, row: Row, said: Sequence[Completion]) -> Reply:
    # Only what was extracted is looked at; whether it is right must not sway the vote.
    ballots = [_ballot(task.score(row, one.text).extracted) for one in said]
    votes = Counter(ballot for ballot in ballots if ballot)
    # max() keeps the first of equals, and a Counter keeps the order of first appearance.
    winner = max(votes, key=votes.__getitem__, default="")
    return Reply.of(said, ballots.index(winner), {"votes": dict(votes)})


def _ballot(extracted: str) -> str:
    """Return an answer in the one spelling it is counted under: 12, 12.0 and 12.00 are one."""
    text = " ".join(extracted.split()).casefold()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return format(number.normalize(), "f") if number.is_finite() and len(text) <= 64 else text


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer self-consistent answers."""
    return [SelfConsistency]
