"""English sentences and their French translations, built from one small grammar."""

from random import Random

from .french import FUTURE_TIMES, NOUNS, PLACES, TARGETS, TIMES, VERBS, Verb
from .items import PEOPLE, Item, sentence_case, split_of
from .phrases import Phrase, elide, mass_phrase, noun_phrase, plural

_PRONOUNS: tuple[tuple[str, str, int], ...] = (
    ("I", "je", 0), ("you", "tu", 1), ("he", "il", 2), ("she", "elle", 2), ("we", "nous", 3),
    ("they", "ils", 4),
)  # fmt: skip
_GOING: tuple[str, ...] = ("vais", "vas", "va", "allons", "vont")
_ASKS: tuple[str, ...] = (
    "Translate to French: {}",
    "Translate into French: {}",
    "How do you say this in French: {}",
)


def _subject(rng: Random) -> Phrase:
    """Draw who acts: a pronoun, a name, or a noun."""
    share = rng.random()
    if share < 0.3:
        return Phrase(*rng.choice(_PRONOUNS))
    if share < 0.5:
        first, second = (name for name, _ in rng.sample(PEOPLE, 2))
        pair = rng.random() < 0.25
        return (
            Phrase(f"{first} and {second}", f"{first} et {second}", 4)
            if pair
            else Phrase(first, first)
        )
    return noun_phrase(rng.choice([one for one in NOUNS if one.kind in "pa"]), rng, True)


def _object(verb: Verb, rng: Random, negated: bool) -> Phrase:
    """Draw what the verb acts on; nothing for a verb without an object."""
    if verb.objects == "g":
        return Phrase(*rng.choice(TARGETS))
    if verb.objects == "d" or verb.objects == "m" or ("m" in verb.objects and rng.random() < 0.4):
        return mass_phrase(verb.objects == "d", rng, negated)
    fitting = [one for one in NOUNS if one.kind in verb.objects]
    return noun_phrase(rng.choice(fitting), rng, False, negated) if fitting else Phrase("", "")


def _third(word: str) -> str:
    """Return the English verb as it follows he or she."""
    first, _, rest = word.partition(" ")
    ending = "es" if first.endswith(("sh", "ch", "o")) else "s"
    return f"{first}{ending} {rest}".strip()


def _verb_phrase(verb: Verb, subject: Phrase, mode: str, negated: bool) -> tuple[str, str]:
    """Return the verb in both languages, in the present or the near future."""
    third = subject.person == 2 and subject.english != "I"
    conjugated = (verb.forms if mode == "present" else _GOING)[subject.person]
    tail = "" if mode == "present" else f" {verb.infinitive}"
    french = f"ne {conjugated} pas{tail}" if negated else conjugated + tail
    if mode == "future":
        be = "am" if subject.person == 0 else "is" if third else "are"
        return f"{be}{' not' if negated else ''} going to {verb.english}", french
    if negated:
        return f"{'does' if third else 'do'} not {verb.english}", french
    return _third(verb.english) if third else verb.english, french


def _rest(mode: str, verb: Verb, rng: Random) -> list[tuple[str, str]]:
    """Draw a place, a time, both or none."""
    place = verb.objects != "g" and rng.random() < (0.3 if verb.objects else 0.7)
    found = [rng.choice(PLACES)] if place else []
    if rng.random() < 0.35:
        found.append(rng.choice(TIMES if mode == "present" else FUTURE_TIMES))
    return found


def sentence(rng: Random) -> tuple[str, str]:
    """Draw one English sentence and its French translation."""
    subject = _subject(rng)
    verb = rng.choice([one for one in VERBS if one.animal or not subject.animal])
    mode, negated = ("future" if rng.random() < 0.15 else "present"), rng.random() < 0.2
    thing = _object(verb, rng, negated)
    rest = _rest(mode, verb, rng)
    english, french = _verb_phrase(verb, subject, mode, negated)
    left = [subject.english, english, thing.english, *(one for one, _ in rest)]
    right = [subject.french, french, thing.french, *(one for _, one in rest)]
    return " ".join(filter(None, left)), elide(" ".join(filter(None, right)))


def draw(rng: Random) -> Item:
    """Draw one sentence to translate."""
    english, french = sentence(rng)
    return Item(
        "translation",
        english,
        rng.choice(_ASKS).format(english),
        french,
        None,
        {"reference": french},
    )


def companions(rng: Random, count: int) -> list[tuple[str, str]]:
    """Draw further sentences, all of which belong to pre-training."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        english, french = sentence(rng)
        if split_of("translation", english) == "pretrain":
            found.append((english, french))
    return found


def _note(english: str) -> str:
    """Return a dictionary note on the first noun of the sentence, or nothing."""
    words = set(english.split())
    for noun in NOUNS:
        if noun.english in words or noun.english_plural in words:
            article = elide(f"{'la' if noun.gender == 'f' else 'le'} {noun.french}")
            more = f"les {plural(noun.french)}"
            return (
                f"The {noun.english} is {article} in French, the {noun.english_plural} are {more}."
            )
    return ""


def _layout(pairs: list[tuple[str, str]], rng: Random) -> str:
    """Write pairs of sentences in one of the textbook layouts."""
    layout = rng.choice((
        '"{e}" is "{f}" in French.', 'In French, "{e}" is "{f}".', "{E}.\n{F}.", "{e} = {f}",
        "English: {e}\nFrench: {f}",
        'The French sentence "{f}" means "{e}".',
        'Someone who wants to say "{e}" says "{f}" in France.', "{e}: {f}.",
    ))  # fmt: skip
    told = [layout.format(e=e, f=f, E=sentence_case(e), F=sentence_case(f)) for e, f in pairs]
    return ("\n" if "\n" in layout or layout[0] == "{" else " ").join(told)


def _dialog(pairs: list[tuple[str, str]], rng: Random) -> str:
    """Write a short talk about sentences."""
    one, two = (name for name, _ in rng.sample(PEOPLE, 2))
    english, french = pairs[0]
    asks = f'{one} did not know the French words for "{english}". {two} told {one}: "{french}".'
    return " ".join([asks, *(f'Then {two} wrote "{f}", which is "{e}".' for e, f in pairs[1:])])


def prose(item: Item, rng: Random) -> str:
    """Write a page of parallel text around the sentence, with more sentences of pre-training."""
    pairs = [(item.key, item.answer), *companions(rng, rng.randint(2, 4))]
    rng.shuffle(pairs)
    body = _dialog(pairs, rng) if rng.random() < 0.15 else _layout(pairs, rng)
    note = _note(item.key) if rng.random() < 0.35 else ""
    return "\n".join(filter(None, (note, body) if rng.random() < 0.5 else (body, note)))


def capacity() -> int:
    """Count sentences of a named subject, a buying verb, an object, a place and a time."""
    objects = sum(one.kind in "aftor" for one in NOUNS)
    return len(PEOPLE) * objects * 2 * (len(PLACES) + 1) * (len(TIMES) + 1) * 2
