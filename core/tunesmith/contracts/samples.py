"""What techniques are tried with: rows, answers, pairs and evidence, small and varied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.evidence.measurements import Answer, Duel, Evidence, Footprint, Measurement
from tunesmith.records import Pair, Row

THINGS = ("kite", "drum", "lamp", "boat", "stone", "apple", "river", "cloud", "bell", "train")
HOSTILE = (
    "",
    " \n\t ",
    "\x00\x1b[2J",
    "9" * 5000,
    "The answer is 1e999999999.",
    "```python\ndef f(:\n",
    "((((" * 500,
    "ﷺ\u202e\U0001f600" * 50,
    "\ud800",
    "no idea " * 3000,
)
"""Answers that a model might give, and that no task may stumble over."""


def row(number: int) -> Row:
    """Return one solved question; every number gives another one."""
    thing, count = THINGS[number % len(THINGS)], number + 2
    return {
        "id": f"row-{number}",
        "prompt": [{"role": "user", "content": f"How many {thing}s are {count} and 1?"}],
        "completion": [{"role": "assistant", "content": f"There are {count + 1} {thing}s."}],
        "reference": {
            "answer": str(count + 1),
            "reference": f"There are {count + 1} {thing}s.",
            "summary": f"{count + 1} {thing}s.",
            "facts": [thing, str(count + 1)],
            "entry_point": "add",
            "tests": [[[1, 2], 3]],
            "mood": "happy",
            "sentences": 1,
            "thing": thing,
        },
    }


def rows(count: int = 24) -> list[Row]:
    """Return solved questions."""
    return [row(number) for number in range(count)]


def endless_rows(seen: list[int]) -> Iterator[Row]:
    """Yield a thousand rows, noting in ``seen`` how many were asked for."""
    for number in range(1000):
        seen[0] = number + 1
        yield row(number)


def rows_of(kind: str, count: int = 24) -> list[Row]:
    """Return rows of a TRL dataset type."""
    return [_of(kind, one) for one in rows(count)]


def _of(kind: str, one: Row) -> Row:
    plain = {"id": one["id"], "prompt": one["prompt"], "reference": one["reference"]}
    said = one["completion"]
    if kind == "language-modelling":
        return {"id": one["id"], "text": one["prompt"][-1]["content"] + " " + said[0]["content"]}
    if kind == "preference":
        wrong = int(one["reference"]["answer"]) + 8
        worse = [{"role": "assistant", "content": f"No idea, maybe there are {wrong}."}]
        return {**plain, "chosen": said, "rejected": worse}
    if kind == "unpaired-preference":
        return {**plain, "completion": said, "label": one["id"].endswith(("0", "2", "4"))}
    return plain if kind == "prompt-only" else {**plain, "completion": said}


def pairs() -> list[Pair]:
    """Return pairs of answers to be compared."""
    return [
        Pair(
            id=f"pair-{n}",
            task="",
            prompt=one["prompt"],
            first=one["completion"][0]["content"],
            second="I do not know." if n % 2 else f"A {THINGS[n]}, and then some more of them.",
            reference=one["reference"],
        )
        for n, one in enumerate(rows(6))
    ]


def evidence() -> Evidence:
    """Return what two models answered to eight items of two tasks, with duels and footprints."""
    answers = [
        Answer(
            model=model,
            task=task,
            item=f"item-{n}",
            question=f"Question {n}?",
            text=f"{model} says {n}.",
            value=float((n + len(model)) % 2),
            correct=bool((n + len(model)) % 2),
            tokens=5 + n,
        )
        for model in ("base", "tuned")
        for task in ("sums", "stories")
        for n in range(8)
    ]
    duels = [
        Duel(f"item-{n}", "stories", "tuned", "base", "A.", "B.", 1.0 + n % 3, 2.0)
        for n in range(6)
    ]
    prints = [
        Footprint(name, "transformers", 4_000_000, 32.0, 16, 99) for name in ("base", "tuned")
    ]
    return Evidence(answers, duels, prints, {"tuned": "base"}, 7, "the kit")


def measurements(value: float = 0.6) -> list[Measurement]:
    """Return numbers of both models and their paired difference."""
    facts: dict[str, Any] = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40}
    return [
        Measurement(name="sums", model="base", task="sums", **facts),
        Measurement(name="sums", model="tuned", task="sums", **facts),
        Measurement(name="sums", model="tuned", task="sums", baseline="base", **facts),
        Measurement(name="size_ratio", model="tuned", higher_is_better=False, **facts),
    ]
