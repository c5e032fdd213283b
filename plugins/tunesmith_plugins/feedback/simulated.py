"""Simulated annotators: a known worth, seen through stated noise, bias and taste.

They let a lifecycle be shown and tested without people, and make the annotators' own accuracy a
known quantity. Nothing they say is human feedback, and every page and report says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from tunesmith import FeedbackSource, Label, Pair, Task, hookimpl
from tunesmith.plugins import build

from .worth import WEIGHTS, parts

Parts = Mapping[str, float]


class Annotator(BaseModel):
    """One simulated person: a Rao-Kupper choice (Rao & Kupper 1967) on what they perceive."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Who the labels are from."""
    temperature: float = Field(default=0.5, gt=0)
    """Scale of the logistic noise on the difference of two answers, in points of worth."""
    position_bias: float = 0.0
    """Points given to the answer on the left for standing there."""
    tie: float = Field(default=0.2, ge=0)
    """Perceived differences up to this many points are called a tie."""
    taste: dict[str, float] = {}
    """Points added to the weight of a part of the worth, e.g. `{speech: 0.3}`."""

    def chances(self, difference: float, left: str) -> tuple[float, float]:
        """Return the chances of `first` and `second`; the rest is a tie.

        ``difference`` is the worth of the first minus that of the second, own taste included.
        """
        seen = difference + (self.position_bias if left == "first" else -self.position_bias)
        first = _logistic((seen - self.tie) / self.temperature)
        second = _logistic((-seen - self.tie) / self.temperature)
        return first, second


THREE = (
    Annotator(name="simulated-ada", temperature=0.4, tie=0.2, taste={"speech": 0.2}),
    Annotator(name="simulated-ben", temperature=0.6, tie=0.3, position_bias=0.2),
    Annotator(name="simulated-cleo", temperature=0.8, tie=0.2, taste={"closing": 0.3}),
)


class Simulated(FeedbackSource):
    """Not people: three made-up annotators who see a known worth through stated noise."""

    name = "simulated"
    simulated = True
    annotators: tuple[Annotator, ...] = THREE
    """Who judges, each with a temperature, a position bias, a tie threshold and a taste."""
    weights: dict[str, float] = WEIGHTS
    """Points per part: thing, mood, sentences, name, speech, vivid, closing and two faults."""
    correct: float = 3.0
    """Points for a right answer where the task can check it (maths, code, translation)."""
    both_bad_below: float = 1.5
    """A tie between two answers that are worth less than this is called `both_bad`."""

    def problems(self) -> list[str]:
        """Refuse nobody, two of one name, and parts that do not exist."""
        names = [annotator.name for annotator in self.annotators]
        found = [] if names else ["simulated.annotators is empty; name at least one."]
        if len(set(names)) < len(names):
            found.append(f"simulated.annotators has a name twice: {', '.join(names)}.")
        named = {part for one in self.annotators for part in one.taste} | set(self.weights)
        return found + [
            f"simulated knows no part {part!r}. Parts: {', '.join(WEIGHTS)}."
            for part in sorted(named - set(WEIGHTS))
        ]

    def judge(self, pairs: Sequence[Pair], seed: int) -> list[Label]:
        """Return every annotator's label of every pair; each hangs on seed, pair id and name."""
        return [label for pair in pairs for label in self._labels(pair, seed)]

    def utility(self, pair: Pair, answer: str) -> float:
        """Return the noiseless worth of an answer in points, without anybody's taste."""
        return self._worth(self._parts(pair, answer), {})

    def _labels(self, pair: Pair, seed: int) -> list[Label]:
        both = self._parts(pair, pair.first), self._parts(pair, pair.second)
        poor = max(self._worth(found, {}) for found in both) < self.both_bad_below
        return [self._label(pair, both, poor, one, seed) for one in self.annotators]

    def _label(
        self, pair: Pair, both: tuple[Parts, Parts], poor: bool, annotator: Annotator, seed: int
    ) -> Label:
        rng = Random(f"{seed}/{pair.id}/{annotator.name}")
        left = "first" if rng.random() < 0.5 else "second"
        worth, other = (self._worth(found, annotator.taste) for found in both)
        first, second = annotator.chances(worth - other, left)
        draw = rng.random()
        verdict = "first" if draw < first else "second" if draw < first + second else "tie"
        if verdict == "tie" and poor:
            verdict = "both_bad"
        return Label(pair.id, annotator.name, verdict, shown_first=left, source=self.name)

    def _worth(self, found: Parts, taste: Mapping[str, float]) -> float:
        return sum(value * self._points(part, taste) for part, value in found.items())

    def _points(self, part: str, taste: Mapping[str, float]) -> float:
        own = self.correct if part == "correct" else self.weights.get(part, 0.0)
        return own + taste.get(part, 0.0)

    def _parts(self, pair: Pair, answer: str) -> Parts:
        if pair.task == "creative_writing" or not (pair.task and pair.reference):
            return parts(pair.reference, answer)
        row = {"prompt": pair.prompt, "reference": pair.reference}
        return {"correct": build(Task, pair.task).score(row, answer).value}


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


@hookimpl
def register_feedback_sources() -> list[type[FeedbackSource]]:
    """Offer the technique."""
    return [Simulated]
