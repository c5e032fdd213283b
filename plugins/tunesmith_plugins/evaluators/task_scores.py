"""Task scores: the share of solved items per task, and paired differences to the parent."""

from __future__ import annotations

from collections import defaultdict

from tunesmith import Evaluator, hookimpl
from tunesmith.evidence.measurements import Answer, Evidence, Measurement
from tunesmith.evidence.statistics import paired_difference, wilson

Scores = dict[tuple[str, str], dict[str, float]]


class TaskScores(Evaluator):
    """Share of items solved, with Wilson's interval, and its paired difference to the parent.

    Differences use the percentile bootstrap over items (Efron 1979), so that an item both models
    solve says nothing and an item only one solves says much.
    """

    name = "task_scores"

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """Return ``<task>`` per model, and ``<task>`` against each model's parent."""
        scores = _by_model_and_task(evidence.answers)
        alone = [_share(key, items) for key, items in scores.items()]
        return alone + _differences(scores, evidence)


def _by_model_and_task(answers: object) -> Scores:
    scores: Scores = defaultdict(dict)
    for answer in answers:  # type: ignore[attr-defined]
        scores[answer.model, _label(answer)][answer.item] = float(answer.correct)
    return dict(sorted(scores.items()))


def _label(answer: Answer) -> str:
    return answer.task if answer.style == "zero_shot" else f"{answer.task}:{answer.style}"


def _share(key: tuple[str, str], items: dict[str, float]) -> Measurement:
    model, task = key
    share = wilson(sum(items.values()), len(items))
    return Measurement(
        name=task, model=model, task=task, unit="share", method="Wilson 95 %",
        value=share.value, low=share.low, high=share.high, n=share.n, per_item=items,
    )  # fmt: skip


def _differences(scores: Scores, evidence: Evidence) -> list[Measurement]:
    found = []
    for (model, task), items in scores.items():
        parent = evidence.parents.get(model)
        if parent is None or (parent, task) not in scores:
            continue
        gap = paired_difference(items, scores[parent, task], evidence.seed)
        found.append(
            Measurement(
                name=task,
                model=model,
                baseline=parent,
                task=task,
                unit="share",
                method="paired bootstrap 95 %",
                value=gap.value,
                low=gap.low,
                high=gap.high,
                n=gap.n,
            )
        )
    return found


@hookimpl
def register_evaluators() -> list[type[Evaluator]]:
    """Offer the technique."""
    return [TaskScores]
