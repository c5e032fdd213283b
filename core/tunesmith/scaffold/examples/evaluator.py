"""How long a model's answers are."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import fmean, stdev

from tunesmith import Evaluator, Evidence, Measurement, hookimpl


class Example(Evaluator):
    """Mean length of the answers per model and task, with a normal 95 % interval."""

    name = "example"

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """Return one number of tokens per model and task."""
        lengths: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for answer in evidence.answers:
            label = f"{answer.task}:{answer.style}"
            lengths[answer.model, label][answer.item] = float(answer.tokens)
        return [_mean(model, label, items) for (model, label), items in sorted(lengths.items())]


def _mean(model: str, label: str, items: dict[str, float]) -> Measurement:
    values = list(items.values())
    mean, n = fmean(values), len(values)
    half = 1.96 * stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return Measurement(
        name=f"answer_length:{label}", model=model, n=n,
        value=mean, low=mean - half, high=mean + half,
        unit="tokens", task=label.partition(":")[0], method="mean, normal 95 %", per_item=items,
        higher_is_better=False,
    )  # fmt: skip


@hookimpl
def register_evaluators() -> list[type[Evaluator]]:
    """Offer the evaluator."""
    return [Example]
