"""Word problems with one number as their answer."""

from __future__ import annotations

import re
from decimal import Decimal

from tunesmith import DataError, Row, Score, Task, hookimpl
from tunesmith_plugins.tasks.limits import reference, unusable

_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(rf"(?:(?<![\w).])[-+])?(?:{_WHOLE}(?:\.[0-9]+)?|\.[0-9]+)")
_MARKS = re.compile(r"the (?:final )?answer is:?|####|\\boxed\s*\{", re.IGNORECASE)
_LONGEST_NUMBER = 64


def final_number(text: str) -> str | None:
    r"""Return the number an answer ends on, without commas, or None.

    It is the first number after the last ``The answer is``, ``####`` or ``\boxed{``; where there
    is no such mark, the last number of the text. Nothing is ever evaluated.
    """
    text = text.replace("−", "-")
    marks = list(_MARKS.finditer(text))
    found = _numbers(text[marks[-1].end() :] if marks else text)
    if not found:
        return None
    return found[0] if marks else found[-1]


def _numbers(text: str) -> list[str]:
    return [found[0].replace(",", "") for found in _NUMBER.finditer(text)]


def equal(first: str | None, second: str | None) -> bool:
    """Compare two numbers exactly as decimals; None and absurdly long ones equal nothing."""
    if first is None or second is None or max(len(first), len(second)) > _LONGEST_NUMBER:
        return False
    return Decimal(first) == Decimal(second)


class MathsReasoning(Task):
    """Maths word problems: the final number has to be exactly right."""

    name = "maths_reasoning"
    title = "maths reasoning"
    metric = "exact"
    max_new_tokens: int = 96
    """Longest answer, in tokens."""

    def score(self, row: Row, answer: str) -> Score:
        """Compare the final number with ``reference.answer``, which may be a worked solution."""
        wanted = final_number(str(reference(row, self.name, "answer")["answer"]))
        if wanted is None:
            raise DataError(f"The reference answer of row {row.get('id', '?')} holds no number.")
        trouble = unusable(answer)
        given = None if trouble else final_number(answer)
        right = equal(given, wanted)
        details = {"expected": wanted} | ({"trouble": trouble} if trouble else {})
        return Score(float(right), right, given or "", details)


@hookimpl
def register_tasks() -> list[type[Task]]:
    """Offer maths reasoning."""
    return [MathsReasoning]
