"""A reward model on a few counted features, learnt from comparisons (Bradley & Terry 1952)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from tunesmith import DataError, Message, Outcome, RewardModel, Scorer, TrainingJob, hookimpl

FILE = "weights.json"


def features(text: str) -> tuple[float, float, float]:
    """Return a text's length, mean word length and share of different words, each about 0 to 1."""
    words = text.lower().split()
    if not words:
        return 0.0, 0.0, 0.0
    letters = sum(map(len, words))
    return (
        math.tanh(len(words) / 50),
        math.tanh(letters / len(words) / 10),
        len(set(words)) / len(words),
    )


class Example(RewardModel):
    """Learn how much length, long words and variety are worth to the people who compared."""

    name = "example"
    steps: int = Field(default=200, ge=1)
    """How many steps of gradient ascent."""
    rate: float = Field(default=1.0, gt=0)
    """How far each step goes."""

    def fit(self, job: TrainingJob) -> Outcome:
        """Write the weights to ``job.out``; metrics hold the share of pairs they get right."""
        if not job.rows:
            raise DataError(f"{self.name} learns from preference rows, and there are none.")
        gaps = [_gap(row["chosen"], row["rejected"]) for row in job.rows]
        weights = [0.0, 0.0, 0.0]
        for _ in range(self.steps):
            misses = [1 / (1 + math.exp(_dot(weights, gap))) for gap in gaps]
            for at in range(3):
                slope = math.fsum(m * gap[at] for m, gap in zip(misses, gaps, strict=True))
                weights[at] += self.rate * slope / len(gaps)
        job.out.mkdir(parents=True, exist_ok=True)
        (job.out / FILE).write_text(json.dumps(weights), encoding="utf-8")
        right = sum(_dot(weights, gap) > 0 for gap in gaps) / len(gaps)
        return Outcome({"train_accuracy": right, "pairs": len(gaps)})

    def open(self, folder: Path) -> Scorer:
        """Return the scorer; it does not look at the prompts."""
        weights: list[float] = json.loads((folder / FILE).read_text(encoding="utf-8"))

        def score(prompts: Sequence[list[Message]], completions: Sequence[str]) -> list[float]:
            return [_dot(weights, features(text)) for text in completions]

        return score


def _gap(chosen: list[Message], rejected: list[Message]) -> list[float]:
    both = (features(answer[-1]["content"]) for answer in (chosen, rejected))
    return [a - b for a, b in zip(*both, strict=True)]


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum(w * v for w, v in zip(weights, values, strict=True))


@hookimpl
def register_reward_models() -> list[type[RewardModel]]:
    """Offer the reward model."""
    return [Example]
