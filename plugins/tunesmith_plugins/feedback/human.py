"""People, who label in the dashboard while the run waits without holding a process."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith import FeedbackSource, Label, Pair, Waiting, hookimpl

_GUIDELINES = (
    "Read the prompt first. Prefer the answer that does what was asked; between two that do,"
    " prefer the one you would rather read. Say tie when you cannot choose, both bad when neither"
    " is usable, and skip when you cannot judge."
)


class Human(FeedbackSource):
    """People compare answers in the dashboard; how many labels a pair needs stands in `collect`."""

    name = "human"
    waits = True
    guidelines: str = _GUIDELINES
    """What annotators are told, shown beside every pair."""

    def judge(self, pairs: Sequence[Pair], seed: int) -> list[Label]:
        """Raise Waiting: nobody can be called like a function."""
        raise Waiting(
            f"{len(pairs)} pairs wait for people. Open `tunesmith dashboard` to label them;"
            " `tunesmith resume` goes on when there are enough labels."
        )


@hookimpl
def register_feedback_sources() -> list[type[FeedbackSource]]:
    """Offer the technique."""
    return [Human]
