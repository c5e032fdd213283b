"""Show worked examples before the question.

Source: Wei et al., "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models",
NeurIPS 2022, https://arxiv.org/abs/2201.11903.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from tunesmith import PromptStyle, Row, hookimpl
from tunesmith.prompts import answer_of
from tunesmith_plugins.prompting.few_shot import FewShot

_NEXT_STEP = re.compile(r"[.!?]\s+\S|\n\s*\S")


class FewShotCot(FewShot):
    """Show solved questions with their worked steps as earlier turns (Wei et al. 2022).

    Shown are rows whose ``style`` is chain_of_thought; of rows without a ``style``, those whose
    completion says more than one sentence or line.
    """

    name = "few_shot_cot"
    wanted: ClassVar[str] = "rows with worked steps"

    shots: int = Field(default=4, ge=1)
    """How many worked questions to show; the paper shows eight."""
    instruction: str = ""
    """What follows every question, those of the examples too; the paper has nothing there."""

    def put(self, question: str) -> str:
        """Return a question with the instruction."""
        return question + self.instruction

    def shows(self, shot: Row) -> bool:
        """Say whether a solved row works its answer out."""
        if "style" in shot:
            return bool(shot["style"] == "chain_of_thought")
        return bool(_NEXT_STEP.search(answer_of(shot).strip()))


@hookimpl
def register_prompt_styles() -> list[type[PromptStyle]]:
    """Offer few-shot chain-of-thought prompts."""
    return [FewShotCot]
