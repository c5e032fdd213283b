"""Lists that are said twice: what a tiny model learns to look things up from.

Maths stories, summaries and functions all ask a model to fetch a number or a word from earlier in
the text. In lists that is nearly all there is to predict, so the skill comes within a few million
tokens instead of tens of millions.
"""

from random import Random

from .french import NOUNS
from .items import PEOPLE, person

FRENCH: tuple[str, ...] = tuple(noun.french for noun in NOUNS)

_THINGS: tuple[str, ...] = (
    "eggs", "cups", "stamps", "pencils", "coins", "apples", "ropes", "lamps", "books", "stones",
    "shells", "chairs", "tickets", "plates", "tulips", "rolls", "marbles", "stickers", "beads",
    "boxes", "buttons", "ladders", "keys", "hats", "bells", "kites", "maps", "masks", "drums",
)  # fmt: skip
_LEADS: tuple[str, ...] = (
    "{name} wrote down what there was: {entries}.",
    "In the cellar {name} counted {entries}.",
    "The list of {name} says {entries}.",
    "{name} packed {entries}.",
    "There were {entries} in the house of {name}.",
)
_AGAIN: tuple[str, ...] = (
    "Later {name} read it aloud: {entries}.",
    "So {name} had {entries}.",
    "Once more in the same order: {entries}.",
    "{name} said it again: {entries}.",
)
_LOOKUPS: tuple[str, ...] = (
    "Of {thing} there were {count}.",
    "That makes {count} {thing}.",
    "The number of {thing} was {count}.",
    "{name} sold the {count} {thing}.",
    "The {thing} were {count} in number.",
)

_WORDS: tuple[str, ...] = (
    *_THINGS, *FRENCH, *(name for name, _ in PEOPLE), "x", "y", "items", "n", "+", "-", "if",
    "return", "then", "in", "the", "and", "was", "old", "again", "with", "from", "for",
)  # fmt: skip

Entry = tuple[int, str]


def listing(rng: Random) -> str:
    """Return a list of two to five countable things, and the same facts once more."""
    name, _ = person(rng)
    things = rng.sample(_THINGS, rng.randint(2, 5))
    entries = [(_number(rng), thing) for thing in things]
    parts = [rng.choice(_LEADS).format(name=name, entries=_said(entries))]
    if rng.random() < 0.5:
        parts.append(rng.choice(_AGAIN).format(name=name, entries=_said(entries)))
    parts += _looked_up(entries, name, rng)
    return " ".join(parts)


def chorus(rng: Random) -> str:
    """Return a few words and numbers said over and over: all but the first time can be foreseen."""
    words = [rng.choice((str(_number(rng)), rng.choice(_WORDS))) for _ in range(rng.randint(2, 10))]
    verse = rng.choice((", ", " ", " and ", "; ")).join(words)
    times = rng.randint(2, max(3, 24 // len(words)))
    return rng.choice((". ", "\n", " ... ")).join([verse] * times)


def _number(rng: Random) -> int:
    return rng.randint(1, 99) if rng.random() < 0.35 else rng.randint(100, 999)


def _said(entries: list[Entry]) -> str:
    words = [f"{count} {thing}" for count, thing in entries]
    return ", ".join(words[:-1]) + f" and {words[-1]}"


def _looked_up(entries: list[Entry], name: str, rng: Random) -> list[str]:
    chosen = rng.sample(entries, rng.randint(1, len(entries)))
    return [
        rng.choice(_LOOKUPS).format(name=name, thing=thing, count=count) for count, thing in chosen
    ]
