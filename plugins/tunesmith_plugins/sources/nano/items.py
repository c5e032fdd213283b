"""The item every family draws, its split, and the few words all families share."""

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Any

PEOPLE: tuple[tuple[str, str], ...] = (
    ("Mia", "she"), ("Tom", "he"), ("Lena", "she"), ("Ben", "he"), ("Nora", "she"),
    ("Paul", "he"), ("Clara", "she"), ("Max", "he"), ("Julia", "she"), ("Leo", "he"),
    ("Anna", "she"), ("Felix", "he"), ("Sara", "she"), ("Noah", "he"), ("Ella", "she"),
    ("Oscar", "he"), ("Rosa", "she"), ("Hugo", "he"), ("Lily", "she"), ("Adam", "he"),
)  # fmt: skip

_SPLITS: tuple[tuple[int, str], ...] = (
    (80, "pretrain"),
    (90, "train"),
    (95, "prompts"),
    (100, "test"),
)


@dataclass(frozen=True, slots=True)
class Item:
    """One task of one family, with all that asking, answering and scoring it needs."""

    family: str
    key: str
    question: str
    answer: str
    steps: str | None
    reference: dict[str, Any]

    @property
    def split(self) -> str:
        """The one split this item belongs to."""
        return split_of(self.family, self.key)


def digest(family: str, key: str) -> str:
    """Return the sixteen hexadecimal digits that identify an item."""
    return hashlib.sha256(f"{family}{key}".encode()).hexdigest()[:16]


def split_of(family: str, key: str) -> str:
    """Return the split that the item with this key belongs to, whoever draws it."""
    bucket = int(digest(family, key), 16) % 100
    return next(name for limit, name in _SPLITS if bucket < limit)


def person(rng: Random) -> tuple[str, str]:
    """Draw a name and its pronoun."""
    return rng.choice(PEOPLE)


def two_people(rng: Random) -> tuple[tuple[str, str], tuple[str, str]]:
    """Draw two different people."""
    first, second = rng.sample(PEOPLE, 2)
    return first, second


def with_article(noun: str) -> str:
    """Return the noun phrase with `a` or `an` before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def sentence_case(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
