"""French and English noun phrases: determiners, number, agreement and elision."""

import re
from dataclasses import dataclass
from random import Random

from .french import ADJECTIVES, MASS, Adjective, Noun
from .items import with_article

_ELISION = re.compile(r"\b([ljnd])(?:e|a) (?=[aeiouyhâéèêô])")
_SINGULAR: dict[str, tuple[str, str]] = {
    "the": ("le", "la"),
    "a": ("un", "une"),
    "my": ("mon", "ma"),
    "this": ("ce", "cette"),
}
_PLURAL: dict[str, str] = {"the": "les", "my": "mes", "these": "ces", "two": "deux", "some": "des"}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase in both languages; person counts je, tu, il, nous, ils from 0 to 4."""

    english: str
    french: str
    person: int = 2
    animal: bool = False


def _vowel(word: str) -> bool:
    """Tell whether a French word begins with a vowel sound; every h here is mute."""
    return word[0] in "aeiouyhâéèêô"


def plural(word: str) -> str:
    """Return the French plural of a noun or an adjective."""
    if word[-1] in "sx":
        return word
    if word.endswith("al"):
        return word[:-2] + "aux"
    return word + ("x" if word.endswith("eau") else "s")


def _form(adjective: Adjective, noun: Noun, many: bool) -> str:
    """Return the adjective as it agrees with the noun."""
    if noun.gender == "f":
        return plural(adjective.feminine) if many else adjective.feminine
    if many:
        return plural(adjective.masculine)
    return adjective.liaison if adjective.liaison and _vowel(noun.french) else adjective.masculine


def _french_words(noun: Noun, adjective: Adjective | None, many: bool) -> list[str]:
    """Return the noun and its adjective in French order."""
    word = plural(noun.french) if many else noun.french
    if adjective is None:
        return [word]
    form = _form(adjective, noun, many)
    return [form, word] if adjective.before else [word, form]


def _article(word: str, following: str, noun: Noun, leads: bool, negated: bool) -> str:
    """Return the French determiner, which looks at the word that follows it."""
    if word in ("a", "some") and negated:
        return "de"
    if word == "some":
        return "de" if leads else "des"
    if word in _PLURAL and word not in _SINGULAR:
        return _PLURAL[word]
    if word == "this" and noun.gender == "m":
        return "cet" if _vowel(following) else "ce"
    if word == "my" and _vowel(following):
        return "mon"
    return _SINGULAR[word][noun.gender == "f"]


def noun_phrase(noun: Noun, rng: Random, subject: bool, negated: bool = False) -> Phrase:
    """Draw determiner, number and adjective around a noun."""
    many = rng.random() < 0.3
    fitting = [one for one in ADJECTIVES if noun.kind in one.kinds]
    adjective = rng.choice(fitting) if rng.random() < 0.45 else None
    word = _determiner(rng, many, subject)
    words = _french_words(noun, adjective, many)
    leads = adjective is not None and adjective.before
    french = [
        _PLURAL[word]
        if many and word != "some"
        else _article(word, words[0], noun, leads, negated),
        *words,
    ]
    english = [adjective.english] if adjective else []
    tail = " ".join([*english, noun.english_plural if many else noun.english])
    first = "any" if word == "some" and negated else word
    named = with_article(tail) if word == "a" else f"{first} {tail}"
    return Phrase(named, " ".join(french), 4 if many else 2, noun.kind == "a")


def _determiner(rng: Random, many: bool, subject: bool) -> str:
    """Draw an English determiner."""
    if many:
        return rng.choice(
            ("the", "the", "my", "these", "two")
            if subject
            else ("the", "some", "my", "these", "two")
        )
    return rng.choice(
        ("the", "the", "the", "a", "my", "this")
        if subject
        else ("the", "the", "a", "a", "my", "this")
    )


def mass_phrase(drink: bool, rng: Random, negated: bool) -> Phrase:
    """Draw food or drink without number, with the partitive article."""
    english, french, gender, _ = rng.choice([one for one in MASS if (one[3] == "d") == drink])
    if negated:
        return Phrase(f"any {english}", f"de {french}")
    article = "de la" if gender == "f" or _vowel(french) else "du"
    return Phrase(f"some {english}", f"{article} {french}")


def elide(text: str) -> str:
    """Write l', j', n' and d' where the next word begins with a vowel sound."""
    return _ELISION.sub(r"\1'", text)
