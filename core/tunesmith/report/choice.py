"""What the optimise stage tried and took, read back from its artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tunesmith import charts
from tunesmith.evidence.choosing import Speed, Trial, front
from tunesmith.evidence.measurements import Measurement
from tunesmith.report import files
from tunesmith.report.facts import ChoiceFacts
from tunesmith.report.pictures import chart
from tunesmith.store import Store

AXES = {
    "size": "size, MB",
    "latency": "milliseconds per token, one answer at a time",
    "throughput": "milliseconds per token, many answers at once",
}
"""What each target wants little of, as the picture's axis says it."""


def read_choice(store: Store, artifact_id: str, timings: Mapping[str, float]) -> ChoiceFacts | None:
    """Return the choice; None for a run that had nothing to choose."""
    if "choice.json" not in files.read_manifest(store, artifact_id)["files"]:
        return None
    told = files.read_json(store, artifact_id, "choice.json")
    return ChoiceFacts(
        target=str(told["target"]),
        budget=float(told["budget"]),
        items=int(told["items"]),
        chosen=str(told["chosen"]),
        trials=[_trial(one) for one in told["trials"]],
        speeds=dict(_speeds(timings)),
    )


def _trial(told: Mapping[str, Any]) -> Trial:
    known = {key: value for key, value in told.items() if key != "within"}
    return Trial(**known | {"gaps": [Measurement(**gap) for gap in told["gaps"]]})


def _speeds(timings: Mapping[str, float]) -> Iterator[tuple[str, Speed]]:
    for key, latency in timings.items():
        name = key.removeprefix("latency/")
        if name != key and f"throughput/{name}" in timings:
            yield name, Speed(latency, timings[f"throughput/{name}"])


def picture(choice: ChoiceFacts) -> list[Markup]:
    """Return what is lost against each cost, with the Pareto front; the target's comes first."""
    kinds = ["size", *(["latency", "throughput"] if choice.speeds else [])]
    kinds.sort(key=lambda kind: kind != choice.target)
    return [chart(charts.front(_points(choice, kind), AXES[kind])) for kind in kinds]


def _points(choice: ChoiceFacts, kind: str) -> list[dict[str, Any]]:
    """Return one point per combination: cost, quality with its interval, and what it is."""
    costs = [_cost(choice, trial, kind) for trial in choice.trials]
    worst = [trial.worst for trial in choice.trials]
    places = [(cost, gap.value) for cost, gap in zip(costs, worst, strict=True)]
    first = front(places)
    return [
        {
            "name": trial.label,
            "mark": _mark(places, at),
            "cost": cost,
            "value": 100 * gap.value,
            "low": 100 * gap.low,
            "high": 100 * gap.high,
            "what": _what(choice, trial),
            "front": at in first,
        }
        for at, (trial, cost, gap) in enumerate(zip(choice.trials, costs, worst, strict=True))
    ]


def _mark(places: Sequence[tuple[float, float]], at: int) -> str:
    """Return a point's number in the table; those in one place share the first one's words."""
    here = [other for other, place in enumerate(places) if place == places[at]]
    return ", ".join(str(other + 1) for other in here) if here[0] == at else ""


def _cost(choice: ChoiceFacts, trial: Trial, kind: str) -> float:
    if kind == "size":
        return trial.bytes / 1e6
    speed = choice.speeds[trial.label]
    return 1e3 * (speed.latency if kind == "latency" else 1 / speed.throughput)


def _what(choice: ChoiceFacts, trial: Trial) -> str:
    if trial.label == choice.chosen:
        return "chosen"
    return "within the budget" if trial.within(choice.budget) else "loses too much"


def faster(choice: ChoiceFacts, trial: Trial) -> Sequence[str]:
    """Return how many times its parent's speed a combination has, alone and together."""
    ours, parents = choice.speeds.get(trial.label), choice.speeds.get(trial.parent)
    if ours is None or parents is None:
        return ["–", "–"]
    ratios = parents.latency / ours.latency, ours.throughput / parents.throughput
    return [f"{ratio:.2f} ×" for ratio in ratios]
