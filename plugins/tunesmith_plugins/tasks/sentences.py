"""Words and sentences of an answer, counted the same way by every task."""

from __future__ import annotations

import re
from collections.abc import Sequence

_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s+["'“‘(\[]?[^\sa-z]|\s*$)""")
_SHORT = re.compile(r"\b(Mr|Mrs|Ms|Dr|St|Prof|vs|etc|e\.g|i\.e)\.")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """Return the words in lower case, without punctuation."""
    return [word.lower() for word in _WORD.findall(text)]


def sentences(text: str) -> list[str]:
    """Return the sentences; an unfinished last one counts, and ``Mr.`` ends none."""
    marked = _END.sub(lambda end: end[0] + "\x1e", _SHORT.sub(r"\1", text))
    return [part.strip() for part in marked.split("\x1e") if words(part)]


def mentions(text: str, phrase: str) -> bool:
    """Say whether the phrase stands in the text as whole words, whatever their case or plural s."""
    spaced = r"\s+".join(re.escape(part) for part in phrase.split())
    return re.search(rf"(?<!\w){spaced}(?:e?s)?(?!\w)", text, re.IGNORECASE) is not None


def distinct(tokens: Sequence[str], size: int) -> float:
    """Return the share of different n-grams among all of them (Li et al. 2016), 1.0 if none."""
    grams = [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
