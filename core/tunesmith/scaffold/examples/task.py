"""Questions whose answer has to hold certain words."""

from __future__ import annotations

import re

from tunesmith import DataError, Row, Score, Task, hookimpl


def words(text: str) -> set[str]:
    """Return the different words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


class Example(Task):
    """Score the share of the reference answer's words that an answer has."""

    name = "example"
    title = "word recall"
    metric = "recall"

    def score(self, row: Row, answer: str) -> Score:
        """Compare with ``reference.answer``; raise DataError when the row has none."""
        wanted = words(str(row.get("reference", {}).get("answer", "")))
        if not wanted:
            raise DataError(f"Row {row.get('id', '?')} has no `reference.answer` to compare with.")
        found = wanted & words(answer)
        return Score(len(found) / len(wanted), found == wanted, answer.strip()[:200])


@hookimpl
def register_tasks() -> list[type[Task]]:
    """Offer the task."""
    return [Example]
