"""Little stories, judged by whether they do what was wished for."""

from __future__ import annotations

from typing import Any

from tunesmith import Row, Score, Task, hookimpl
from tunesmith_plugins.tasks.limits import reference, unusable
from tunesmith_plugins.tasks.moods import has_mood
from tunesmith_plugins.tasks.sentences import distinct, mentions, sentences, words


class CreativeWriting(Task):
    """Stories with a wish: the mood, the number of sentences, and the thing that must appear.

    The score says whether a story obeys, not whether it is good: that is for people to judge.
    """

    name = "creative_writing"
    title = "creative writing"
    metric = "wish"
    one_answer = False
    max_new_tokens: int = 160
    """Longest answer, in tokens."""
    least_distinct: float = 0.5
    """Share of different word pairs below which a text counts as babble and scores nothing."""
    least_words: float = 3.0
    """Words per sentence, on average, below which a text counts as babble."""

    def score(self, row: Row, answer: str) -> Score:
        """Give the share of wishes (mood, sentences, thing, name) that came true."""
        wish = reference(row, self.name, "mood", "sentences", "thing")
        trouble = unusable(answer)
        if trouble:
            return Score(0.0, False, "", {"trouble": trouble})
        met = _met(wish, answer)
        details = {"met": met, **_texture(answer)}
        babble = (
            details["distinct_2"] < self.least_distinct
            or details["words"] < self.least_words * details["sentences"]
        )
        if babble:
            return Score(0.0, False, answer.strip(), {**details, "trouble": "babble"})
        return Score(sum(met.values()) / len(met), all(met.values()), answer.strip(), details)


def _met(wish: dict[str, Any], answer: str) -> dict[str, bool]:
    met = {
        "mood": has_mood(answer, str(wish["mood"])),
        "sentences": len(sentences(answer)) == int(wish["sentences"]),
        "thing": mentions(answer, str(wish["thing"])),
    }
    return met | ({"name": mentions(answer, str(wish["name"]))} if wish.get("name") else {})


def _texture(answer: str) -> dict[str, Any]:
    """Return what can be counted about a text: its variety, its speech and its length."""
    tokens = words(answer)
    return {
        "distinct_2": round(distinct(tokens, 2), 4),
        "repetition": round(1 - distinct(tokens, 4), 4),
        "dialogue": any(mark in answer for mark in '"“”«»'),
        "words": len(tokens),
        "sentences": len(sentences(answer)),
    }


@hookimpl
def register_tasks() -> list[type[Task]]:
    """Offer creative writing."""
    return [CreativeWriting]
