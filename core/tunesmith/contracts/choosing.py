"""What pair selectors and feedback sources promise."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from tunesmith.contracts.rules import Breach, NotTried, Subject, must_be, plainly, shown
from tunesmith.contracts.samples import pairs
from tunesmith.errors import did_you_mean
from tunesmith.preferences import VERDICTS
from tunesmith.records import Label

_ANSWERS = ("A kite flew.", "Two drums.", "A kite flew.", "No idea at all.", "Two drums, loud.")


def _choice(selector: Any, answers: list[str], seed: int = 1) -> tuple[int, int] | None:
    places = selector.choose(answers, Random(seed))
    if places is None:
        return None
    if not (isinstance(places, tuple | list) and len(places) == 2):
        raise Breach(f"must return two positions or None from choose(); got {shown(places)}")
    for place in places:
        if not isinstance(place, int) or isinstance(place, bool):
            raise Breach(f"must return positions, which are whole numbers; got {shown(places)}")
        if not 0 <= place < len(answers):
            raise Breach(f"chose position {place} of {len(answers)} answers")
    return places[0], places[1]


def chooses_two_answers(subject: Subject) -> None:
    """choose(answers, rng) returns the positions of two different answers."""
    selector = subject.build()
    for seed in range(20):
        places = _choice(selector, list(_ANSWERS), seed)
        if places is None:
            raise Breach("finds no pair among five answers, four of them different")
        if _ANSWERS[places[0]] == _ANSWERS[places[1]]:
            raise Breach(f"chose {places}, which hold the same answer; nobody can compare those")


def gives_up_in_words(subject: Subject) -> None:
    """It returns None where there are no two different answers."""
    selector = subject.build()
    for answers in ([], ["Only one."], ["The same."] * 4):
        if _choice(selector, answers) is not None:
            raise Breach(f"chose a pair from {shown(answers)}; return None where none differs")


def chooses_by_its_rng(subject: Subject) -> None:
    """The same answers and the same random numbers give the same pair; answers stay as they are."""
    selector, answers = subject.build(), list(_ANSWERS)
    chosen = [_choice(selector, answers, seed) for seed in range(10)]
    if chosen != [_choice(selector, answers, seed) for seed in range(10)]:
        raise Breach("chose another pair the second time; draw from the rng it is given")
    if answers != list(_ANSWERS):
        raise Breach("changed the answers it was given")


SELECTOR = plainly(chooses_two_answers, gives_up_in_words, chooses_by_its_rng)


def _labels(source: Any, seed: int = 3) -> list[Label]:
    if source.waits:
        raise NotTried("waits for people, so it is never asked")
    labels: list[Label] = source.judge(pairs(), seed)
    must_be(labels, list, "judge()", "a list of tunesmith.Label")
    return labels


def labels_pairs(subject: Subject) -> None:
    """judge(pairs, seed) returns labels of the pairs it was given, with verdicts that exist."""
    labels, known = _labels(subject.build()), {pair.id for pair in pairs()}
    if not labels:
        raise Breach("gave no label for any of six pairs")
    for label in labels:
        must_be(label, Label, "judge()", "tunesmith.Label objects")
        if label.pair_id not in known:
            raise Breach(f"labelled the pair {label.pair_id!r}, which it was not given")
        if label.verdict not in VERDICTS:
            hint = did_you_mean(str(label.verdict), VERDICTS)
            raise Breach(
                f"gave the verdict {label.verdict!r}.{hint} Verdicts: {', '.join(VERDICTS)}"
            )
        if label.shown_first not in ("first", "second"):
            raise Breach(f"says shown_first={label.shown_first!r}; it is first or second")


def labels_once(subject: Subject) -> None:
    """No annotator labels a pair twice."""
    seen = [(label.pair_id, label.annotator) for label in _labels(subject.build())]
    if len(set(seen)) < len(seen):
        raise Breach("labelled a pair twice in one annotator's name")


def judges_by_its_seed(subject: Subject) -> None:
    """The same pairs and the same seed give the same labels."""
    source = subject.build()
    if _labels(source) != _labels(source):
        raise Breach("judged otherwise the second time; draw from the seed it is given")


def knows_worth_or_not(subject: Subject) -> None:
    """utility(pair, answer) returns a finite number, or None where no worth is known."""
    source = subject.build()
    for pair in pairs():
        worth = source.utility(pair, pair.first)
        if worth is None:
            continue
        must_be(worth, (int, float), "utility()", "a number or None")
        if not math.isfinite(worth):
            raise Breach(f"says an answer is worth {worth}; return None where it is not known")


FEEDBACK = plainly(labels_pairs, labels_once, judges_by_its_seed, knows_worth_or_not)
