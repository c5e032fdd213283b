"""Short summaries that must carry the main facts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunesmith import Row, Score, Task, hookimpl
from tunesmith_plugins.tasks.limits import reference, unusable
from tunesmith_plugins.tasks.sentences import mentions, sentences

_TOKEN = re.compile(r"[a-z0-9]+")


def rouge_l(answer: str, wanted: str) -> float:
    """Return the ROUGE-L F-measure (Lin 2004) over lower-case letters and digits, no stemming."""
    said, gold = _TOKEN.findall(answer.lower()), _TOKEN.findall(wanted.lower())
    common = _longest_common(said, gold)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    best = [0] * (len(second) + 1)
    for one in first:
        before = 0
        for at, two in enumerate(second, start=1):
            before, best[at] = best[at], before + 1 if one == two else max(best[at], best[at - 1])
    return best[-1]


class Summarisation(Task):
    """Summaries: the share of the main facts they carry, and no longer than they need to be."""

    name = "summarisation"
    title = "summarisation"
    metric = "facts"
    one_answer = False
    max_new_tokens: int = 64
    """Longest answer, in tokens."""
    most_sentences: int = 2
    """Sentences from which on length costs, and the summary is not correct."""
    most_of_reference: float = 1.5
    """Words, as a multiple of the reference's, from which on the same holds."""

    def score(self, row: Row, answer: str) -> Score:
        """Give the share of ``reference.facts`` found, times less than 1 where it is too long."""
        wanted = reference(row, self.name, "summary", "facts")
        trouble = unusable(answer)
        if trouble:
            return Score(0.0, False, "", {"trouble": trouble, "rouge_l": 0.0})
        found = [fact for fact in wanted["facts"] if mentions(answer, str(fact))]
        share = len(found) / len(wanted["facts"])
        room = self.most_of_reference * len(str(wanted["summary"]).split())
        count = len(sentences(answer)) or 1
        length = min(1.0, room / len(answer.split()), self.most_sentences / count)
        details = {"facts": found, "sentences": count, "length": round(length, 4)}
        details["rouge_l"] = round(rouge_l(answer, str(wanted["summary"])), 4)
        right = share == 1.0 and length == 1.0
        return Score(share * length, right, answer.strip(), details)


@hookimpl
def register_tasks() -> list[type[Task]]:
    """Offer summarisation."""
    return [Summarisation]
