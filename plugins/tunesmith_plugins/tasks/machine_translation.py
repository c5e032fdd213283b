"""Translation, compared with a reference translation."""

from __future__ import annotations

import unicodedata

from tunesmith import Row, Score, Task, hookimpl
from tunesmith_plugins.tasks.limits import reference, unusable
from tunesmith_plugins.tasks.sentences import words


def normalised(text: str) -> str:
    """Return the words of a text alone: composed characters, lower case, no punctuation."""
    return " ".join(words(unicodedata.normalize("NFC", text).replace("’", "'")))


class MachineTranslation(Task):
    """Translation: chrF against a reference, and whether it is the reference word for word."""

    name = "machine_translation"
    title = "machine translation"
    metric = "chrF"
    one_answer = False
    needs = ("sacrebleu",)
    max_new_tokens: int = 64
    """Longest answer, in tokens."""

    def score(self, row: Row, answer: str) -> Score:
        """Give sentence chrF (Popović 2015, as sacrebleu computes it) / 100 as the value.

        The answer is correct when it has the words of ``reference.reference`` in their order.
        """
        wanted = str(reference(row, self.name, "reference")["reference"])
        said, trouble = answer.strip(), unusable(answer)
        if not trouble and len(said) > 20 * len(wanted) + 200:
            trouble = "too long"
        if trouble:
            return Score(0.0, False, said[:200], {"chrF": 0.0, "trouble": trouble})
        value = _chrf(said, wanted)
        right = bool(words(wanted)) and normalised(said) == normalised(wanted)
        return Score(value / 100, right, said, {"chrF": round(value, 4), "expected": wanted})


def _chrf(said: str, wanted: str) -> float:
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(said, [wanted]).score)


@hookimpl
def register_tasks() -> list[type[Task]]:
    """Offer machine translation."""
    return [MachineTranslation]
