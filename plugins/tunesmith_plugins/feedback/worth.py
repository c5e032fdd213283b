"""What an answer is worth, read off its text alone: the ground truth of simulated annotators.

Each part is a number between 0 and 1. `parts` looks at the wish in the reference (mood, number of
sentences, thing, name) and at how the text is told; it knows no model and no reward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

WEIGHTS: dict[str, float] = {
    "thing": 1.0, "mood": 1.0, "sentences": 1.0, "name": 0.5,
    "speech": 1.0, "vivid": 1.0, "closing": 1.0,
    "repetition": -2.0, "unfinished": -1.0,
}  # fmt: skip
"""Points a part is worth: a wish fulfilled, a lively telling, and two faults."""
MOOD_WORDS: dict[str, frozenset[str]] = {
    mood: frozenset(words.split())
    for mood, words in {
        "happy": "happy happily happiness smile smiled smiles smiling joy joyful glad gladly"
        " cheerful cheered delight delighted dance danced dancing wonderful laugh laughed merry",
        "sad": "sad sadly sadness tear tears cry cried cries crying lonely alone sigh sighed"
        " sighing miss missed missing sorrow wept weep weeping grief gloomy",
        "scary": "afraid scary scared scare fear fearful tremble trembled trembling shadow shadows"
        " scream screamed screaming ghost ghosts frighten frightened creak creaked creaking dark",
        "funny": "funny giggle giggled giggling silly tickle tickled tickling hiccup hiccups wobble"
        " wobbled wobbling joke jokes joked nonsense laugh laughed laughing ridiculous",
    }.items()
}
"""Words that carry a mood; a mood that is not listed counts when it is named itself."""
_VIVID = re.compile(
    r"\b(?:(?:smell(?:ed|s)?|smelt|taste[ds]|sound(?:ed|s)|felt|feels|shone|shines|glitter(?:ed|s)"
    r"|gleam(?:ed|s)|sparkle[ds]) (?:of|like)|as (?:soft|cold|smooth|warm|hot|bright|white|black"
    r"|red|green|blue|sweet|sour|bitter|loud|quiet|rough|hard|light|heavy|dark|sharp) as)\b",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\b(from (?:that|this) (?:day|moment|night) on|ever (?:since|after)|in the end|and so\b"
    r"|at last|finally|happily ever)", re.IGNORECASE,
)  # fmt: skip
_SPEECH = re.compile(r"[\"“«]\s*\w[^\"”»]*\W\w[^\"”»]*[\"”»]")
_BREAK = re.compile(r"(?<=[.!?])[\"”»']?\s+(?=[\"“«']?[A-ZÀ-Þ0-9])")
_ENDED = re.compile(r"[.!?…][\"”»')]*$")


def parts(reference: Mapping[str, Any], answer: str) -> dict[str, float]:
    """Return every part of the worth of an answer to a wish; absent wishes are not counted."""
    text = answer.strip()
    told = sentences(text)
    return {
        **_wish(reference, text, told),
        "speech": float(bool(_SPEECH.search(text))),
        "vivid": float(bool(_VIVID.search(text))),
        "closing": float(bool(told and _CLOSING.match(told[-1].lstrip("\"“«' ")))),
        "repetition": max(_repeated(told), _repeated(_grams(text, 4))),
        "unfinished": float(not _ENDED.search(text)),
    }


def sentences(text: str) -> list[str]:
    """Split where a stop is followed by a capital; a quotation does not end its sentence."""
    return [part for part in _BREAK.split(text.strip()) if part]


def _wish(reference: Mapping[str, Any], text: str, told: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    if "thing" in reference:
        found["thing"] = float(_says(text, str(reference["thing"])))
    if "name" in reference:
        found["name"] = float(_says(text, str(reference["name"])))
    if "mood" in reference:
        found["mood"] = _mood(str(reference["mood"]), text)
    if "sentences" in reference:
        found["sentences"] = max(0.0, 1 - abs(len(told) - int(reference["sentences"])) / 2)
    return found


def _says(text: str, word: str) -> bool:
    return bool(re.search(rf"\b{re.escape(word)}(?:e?s)?\b", text, re.IGNORECASE))


def _mood(mood: str, text: str) -> float:
    """One word of the mood is half of it, two are all of it."""
    wanted = MOOD_WORDS.get(mood.lower(), frozenset({mood.lower()}))
    return min(2, len(wanted.intersection(re.findall(r"\w+", text.lower())))) / 2


def _grams(text: str, n: int) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


def _repeated(units: Sequence[str]) -> float:
    return 1 - len(set(units)) / len(units) if units else 0.0
