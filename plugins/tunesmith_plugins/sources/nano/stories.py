"""Short stories that fulfil a wish: a mood, a number of sentences and a thing in them."""

from random import Random
from typing import NamedTuple

from .items import PEOPLE, Item, sentence_case, with_article
from .story_words import (
    DAYS,
    MIDDLES,
    MOOD_WORDS,
    MOODS,
    OPENINGS,
    PLACES,
    RESOLUTION_MARKERS,
    THINGS,
    VIVID,
    VIVID_MARKERS,
)

__all__ = ["MOOD_WORDS", "RESOLUTION_MARKERS", "VIVID_MARKERS", "capacity", "draw", "prose", "tell"]

_LENGTHS: dict[int, str] = {3: "three", 4: "four", 5: "five", 6: "six"}
_VARIANTS: int = 2000
_SHARE: float = 0.35
_PRONOUNS: dict[str, str] = dict(PEOPLE)


class Wish(NamedTuple):
    """What a story must be: its mood, its number of sentences, its thing and perhaps its hero."""

    mood: str
    sentences: int
    thing: str
    name: str


def _wish(rng: Random) -> Wish:
    """Draw a wish; a third of all wishes name the hero."""
    name = rng.choice(PEOPLE)[0] if rng.random() < 1 / 3 else ""
    return Wish(rng.choice(list(MOODS)), rng.choice(list(_LENGTHS)), rng.choice(THINGS), name)


def _cast(wish: Wish, rng: Random) -> dict[str, str]:
    """Draw the hero, a friend, the time and the place."""
    name = wish.name or rng.choice(PEOPLE)[0]
    friend = rng.choice([one for one, _ in PEOPLE if one != name])
    pronoun = _PRONOUNS[name]
    return {
        "name": name, "friend": friend, "pro": pronoun, "his": "her" if pronoun == "she" else "his",
        "thing": wish.thing,
        "a_thing": with_article(wish.thing), "day": rng.choice(DAYS), "place": rng.choice(PLACES),
    }  # fmt: skip


def tell(wish: Wish, rng: Random) -> str:
    """Tell a story; speech, a vivid detail and a resolution come by independent coin flips."""
    speech, vivid, resolved = (rng.random() < _SHARE for _ in range(3))
    cast, mood = _cast(wish, rng), MOODS[wish.mood]
    opening = rng.choice(OPENINGS)
    if vivid:
        opening = opening.replace("{a_thing}", "{a_thing} " + rng.choice(VIVID))
    last = (
        f"{rng.choice(RESOLUTION_MARKERS)} {rng.choice(mood.closings)}"
        if resolved
        else rng.choice(mood.lasts)
    )
    body = _body(wish, speech, rng)
    lines = [line.format(**cast) for line in [opening, *body, last]]
    return " ".join(f"{line if line[0] == chr(34) else sentence_case(line)}." for line in lines)


def _body(wish: Wish, speech: bool, rng: Random) -> list[str]:
    """Draw the sentences between the first and the last: events, middles, perhaps a speech."""
    mood, room = MOODS[wish.mood], wish.sentences - 2 - speech
    events = rng.sample(mood.events, min(room, rng.choice((1, 1, 2))))
    lines = rng.sample(MIDDLES, room - len(events)) + events
    if len(lines) > 2 and rng.random() < 0.5:
        lines[-2], lines[-3] = lines[-3], lines[-2]
    if speech:
        said, teller = rng.choice(mood.speeches)
        lines.insert(rng.randint(0, len(lines)), f'"{sentence_case(said)}," {teller}')
    return lines


def _question(wish: Wish, rng: Random) -> str:
    """Phrase the wish."""
    about = f" about {wish.name}" if wish.name else ""
    ask = rng.choice((
        "Write a {m} story{w} of {n} sentences with {t} in it.",
        "Tell me a {m} story{w} in {n} sentences. There must be {t} in it.",
        "Please write a {m} story{w}. It has {n} sentences and {t} appears.",
    ))  # fmt: skip
    return ask.format(m=wish.mood, w=about, n=_LENGTHS[wish.sentences], t=with_article(wish.thing))


def draw(rng: Random) -> Item:
    """Draw one wish with the story that fulfils it."""
    wish = _wish(rng)
    key = f"{wish.mood} {wish.sentences} {wish.thing} {wish.name} {rng.randrange(_VARIANTS)}"
    reference = {"mood": wish.mood, "sentences": wish.sentences, "thing": wish.thing}
    if wish.name:
        reference["name"] = wish.name
    # The story hangs on the key alone, so equal keys always carry equal stories.
    return Item("stories", key, _question(wish, rng), tell(wish, Random(key)), None, reference)


def prose(item: Item, rng: Random) -> str:
    """Write the story as plain text, sometimes under a title or a line that says what it is."""
    mood, thing = item.reference["mood"], with_article(item.reference["thing"])
    count = _LENGTHS[item.reference["sentences"]]
    about = f"{item.reference['name']} and {thing}" if "name" in item.reference else thing
    head = rng.choice((
        "", "", f"This is a {mood} story about {about}.\n", f"{sentence_case(about)}\n\n",
        f"A {mood} tale in {count} sentences, about {about}.\n\n",
        f"Here comes a {mood} little story. It is {count} sentences long and has {thing} in it.\n",
        f"The {item.reference['thing']}, a {mood} story\n\n",
    ))  # fmt: skip
    return head + item.answer


def capacity() -> int:
    """Count the wishes without a hero and their variants."""
    return len(MOODS) * len(_LENGTHS) * len(THINGS) * _VARIANTS
