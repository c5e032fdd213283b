"""A small lexicon of moods."""

from __future__ import annotations

import re

_WORDS: dict[str, str] = {
    "happy": """
        happy happily happier happiest happiness smile smiles smiled smiling joy joyful
        joyfully glad gladly cheer cheered cheerful cheerfully delight delighted delightful
        dance danced dances dancing wonderful laugh laughed laughing laughter merry merrily
        celebrate celebrated grateful bliss""",
    "sad": """
        sad sadly sadness sadder saddest tear tears tearful cry cried cries crying lonely
        loneliness sigh sighed sighs sighing miss missed misses sorrow sorrowful wept weep
        weeps weeping grief grieved mourned gloomy heartbroken unhappy sob sobbed sobbing""",
    "scary": """
        afraid scary scarier scare scared scares trembled tremble trembling shadow shadows
        scream screamed screams screaming ghost ghosts ghostly frightened frightening fright
        creaked creak creaking terror terrified terrifying horror fear feared fearful
        shivered shiver haunted monster monsters crept howled howl""",
    "funny": """
        funny funnier funniest giggle giggled giggles giggling silly tickle tickled tickles
        tickling hiccup hiccups hiccuped wobble wobbled wobbles wobbling joke joked jokes
        joking nonsense goofy chuckle chuckled ridiculous hilarious clown clowns""",
}
WORDS: dict[str, frozenset[str]] = {mood: frozenset(said.split()) for mood, said in _WORDS.items()}


def counts(text: str) -> dict[str, int]:
    """Return how many different words of each mood a text uses."""
    used = set(re.findall(r"[a-z]+", text.lower()))
    return {mood: len(used & lexicon) for mood, lexicon in WORDS.items()}


def has_mood(text: str, mood: str) -> bool:
    """Say whether a text has words of the mood, and more of them than of any other.

    A mood that the lexicon does not know must be named in the text.
    """
    found = counts(text)
    if mood not in found:
        return re.search(rf"\b{re.escape(mood)}", text, re.IGNORECASE) is not None
    return found.pop(mood) > max(found.values())
