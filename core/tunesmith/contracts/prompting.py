"""What tasks and prompt styles promise."""

from __future__ import annotations

import copy
import math
from typing import Any

from tunesmith.contracts.rules import Breach, Subject, must_be, plainly, shown
from tunesmith.contracts.samples import HOSTILE, row, rows
from tunesmith.records import Row, Score
from tunesmith.rows import ROLES
from tunesmith.techniques import Task


def _row(subject: Subject) -> Row:
    """Return the task's own example, or the kit's row, whose reference has every usual key."""
    own: Any = getattr(subject.kind, "example", None)
    return copy.deepcopy(own) if own else row(0)


def _answer(example: Row) -> str:
    return str(example["completion"][-1]["content"]) if "completion" in example else "An answer."


def _scored(task: Any, example: Row, answer: str) -> Score:
    score: Score = task.score(example, answer)
    said = f"score() of the answer {shown(answer, 30)}"
    must_be(score, Score, said, "a tunesmith.Score")
    must_be(score.value, (int, float), f"{said} must hold a number as value; it", "one")
    if not (math.isfinite(score.value) and 0 <= score.value <= 1):
        raise Breach(f"gave {shown(answer, 30)} the value {score.value}; a value is in 0 to 1")
    if not isinstance(score.correct, bool):
        raise Breach(f"must say correct=True or False; it said {shown(score.correct)}")
    return score


def scores_answers(subject: Subject) -> None:
    """score(row, answer) returns a Score whose value is a number in 0 to 1."""
    example = _row(subject)
    task = subject.build()
    _scored(task, example, _answer(example))
    _scored(task, example, "Something else entirely.")


def survives_any_answer(subject: Subject) -> None:
    """Empty, endless, malformed and hostile answers get a score and no exception."""
    task, example = subject.build(), _row(subject)
    for answer in HOSTILE:
        try:
            score = _scored(task, example, answer)
        except Breach:
            raise
        except Exception as error:
            raise Breach(
                f"raised {type(error).__name__} ({error}) for the answer {shown(answer, 30)};"
                " a model may say anything, and what is no answer scores 0"
            ) from error
        if not answer.strip() and score.correct:
            raise Breach("calls an empty answer correct")


def scores_the_same_again(subject: Subject) -> None:
    """The same answer to the same row gets the same score."""
    task, example = subject.build(), _row(subject)
    first = _scored(task, example, _answer(example))
    if _scored(task, example, _answer(example)) != first:
        raise Breach("gave the same answer another score the second time")


def leaves_the_row_alone(subject: Subject) -> None:
    """It does not change the row."""
    task, example = subject.build(), _row(subject)
    before = copy.deepcopy(example)
    _scored(task, example, _answer(example))
    task.question(example)
    if example != before:
        raise Breach("changed the row it was given")


def asks_a_question(subject: Subject) -> None:
    """question(row) returns what a user would type."""
    asked = subject.build().question(_row(subject))
    must_be(asked, str, "question()", "text")
    if not asked.strip():
        raise Breach("asks an empty question")


def says_how_it_measures(subject: Subject) -> None:
    """`metric` names its number, and `max_new_tokens` is at least 1."""
    task = subject.build()
    if not isinstance(task.metric, str) or not task.metric:
        raise Breach("has no metric; name the number that score() gives, e.g. 'exact'")
    if not isinstance(task.max_new_tokens, int) or task.max_new_tokens < 1:
        raise Breach(f"allows answers of {task.max_new_tokens!r} tokens; at least 1 is needed")


TASK = plainly(
    scores_answers,
    survives_any_answer,
    scores_the_same_again,
    leaves_the_row_alone,
    asks_a_question,
    says_how_it_measures,
)


class _Sums(Task):
    """Questions for prompt styles to ask."""

    name = "kit_sums"


def _messages(style: Any, asked: Row, shots: list[Row]) -> list[dict[str, str]]:
    said: list[dict[str, str]] = style.messages(_Sums(), asked, shots)
    must_be(said, list, "messages()", "a list of messages")
    for one in said:
        if not isinstance(one, dict) or not {"role", "content"} <= set(one):
            raise Breach(f'must write {{"role": ..., "content": ...}}; it wrote {shown(one)}')
        if one["role"] not in ROLES:
            raise Breach(f"uses the role {one['role']!r}; roles are {', '.join(ROLES)}")
        if not isinstance(one["content"], str) or not one["content"].strip():
            raise Breach(f"wrote a message without text: {shown(one)}")
    return said


def ends_with_the_user(subject: Subject) -> None:
    """messages(task, row, shots) returns valid turns, the last one the user's."""
    said = _messages(subject.build(), row(0), rows()[1:])
    if not said or said[-1]["role"] != "user":
        last = said[-1]["role"] if said else "nothing"
        raise Breach(f"ends with {last}; the conversation to complete ends with a user turn")
    if any(one["role"] == "system" for one in said[1:]):
        raise Breach("has a system turn that is not the first")


def asks_the_question(subject: Subject) -> None:
    """The row's question stands in the conversation, and its answer does not."""
    asked = row(0)
    text = "\n".join(one["content"] for one in _messages(subject.build(), asked, rows()[1:]))
    if asked["prompt"][-1]["content"] not in text:
        raise Breach("does not ask the question; task.question(row) returns it")
    if asked["completion"][-1]["content"] in text:
        raise Breach("shows the answer of the very row it asks")


def keeps_earlier_turns(subject: Subject) -> None:
    """A system turn of the row comes first in what it writes."""
    asked = row(0)
    asked["prompt"] = [{"role": "system", "content": "Be brief."}, *asked["prompt"]]
    said = _messages(subject.build(), asked, rows()[1:])
    if said[0]["role"] != "system" or "Be brief." not in said[0]["content"]:
        raise Breach("drops the row's own system turn, or does not put it first")


def writes_the_same_again(subject: Subject) -> None:
    """The same row gives the same conversation, and nothing it is given changes."""
    style, asked, shots = subject.build(), row(0), rows()[1:]
    if _messages(style, asked, shots) != _messages(style, asked, shots):
        raise Breach("wrote another conversation the second time; draw from a seed of its own")
    if asked != row(0) or shots != rows()[1:]:
        raise Breach("changed the row or the shots it was given")


STYLE = plainly(ends_with_the_user, asks_the_question, keeps_earlier_turns, writes_the_same_again)
