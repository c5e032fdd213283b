"""The report's pictures as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from tunesmith import charts
from tunesmith.evidence.measurements import Measurement
from tunesmith.report import words
from tunesmith.report.facts import (
    Curve,
    DataFacts,
    EvidenceFacts,
    LineageFacts,
    RewardFacts,
    StageFacts,
)

ROW = 46
"""Height of one line of the lineage, in pixels; the list beside it has the same."""
REACH = 150
FIRST = ("loss", "reward", "accuracy", "kl", "completion_length", "length", "clip_fraction")
"""Curves that a reader looks for first."""


def chart(drawn: Any) -> Markup:
    """Return a chart as safe HTML: the drawing library escapes every text in it."""
    return Markup(charts.svg(drawn))


def stage_curves(stage: StageFacts) -> list[Markup]:
    """Return one picture per curve of a stage; training and evaluation loss share one."""
    return [
        chart(charts.curves(lines, f"{stage.name}: {title}"))
        for title, lines in together(stage.curves).items()
    ]


def together(found: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Return the curves that belong in one picture, by its title."""
    pictures: dict[str, dict[str, Curve]] = {}
    for name, points in sorted(found.items(), key=lambda one: _rank(one[0])):
        title = words.name(name.removeprefix("eval_"))
        pictures.setdefault(title, {})[words.name(name)] = points
    return pictures


def _rank(name: str) -> tuple[int, str]:
    known = name.removeprefix("eval_")
    return (FIRST.index(known) if known in FIRST else len(FIRST), name)


def task_scores(evidence: EvidenceFacts) -> Markup:
    """Return every model's share of solved items per exam."""
    found = [m for m in evidence.alone() if "@" not in m.model]
    found.sort(key=lambda m: evidence.models().index(m.model))
    labels = {m.name: words.name(m.name) for m in found}
    return chart(charts.intervals(_percent(found), "", "% solved", labels))


def differences(evidence: EvidenceFacts) -> list[Markup]:
    """Return one picture per pair of models that were compared."""
    drawn = []
    for (model, baseline), found in evidence.comparisons().items():
        title = f"{words.model(model)} − {words.model(baseline)}"
        labels = {m.name: words.name(m.name) for m in found}
        if "@" not in model:
            drawn.append(chart(charts.differences(_percent(found), title, "points", labels)))
    return drawn


def _percent(found: Sequence[Measurement]) -> list[Measurement]:
    return [replace(m, value=100 * m.value, low=100 * m.low, high=100 * m.high) for m in found]


def calibration(reward: RewardFacts) -> Markup:
    """Return the reward model's reliability diagram."""
    return chart(charts.reliability(reward.bins, ""))


def lengths(data: DataFacts) -> list[Markup]:
    """Return how long the texts of the training rows are, in words."""
    columns = data.lengths.get("train") or next(iter(data.lengths.values()), {})
    return [
        chart(charts.histogram(_numbers(units["words"]), column, f"words per {column}"))
        for column, units in columns.items()
        if units.get("words")
    ]


def _numbers(counts: Mapping[str, int]) -> dict[int, int]:
    return {int(low): count for low, count in counts.items()}


def timeline(stages: Sequence[StageFacts]) -> dict[str, tuple[float, float]]:
    """Return where each stage's bar begins and how long it is, in percent of the work.

    Waiting between stages is left out: a run may have waited for people for days.
    """
    spent = {stage.name: stage.seconds for stage in stages if stage.seconds is not None}
    total = sum(spent.values())
    places, at = {}, 0.0
    for name, seconds in spent.items() if total else ():
        places[name] = (100 * at / total, max(0.4, 100 * seconds / total))
        at += seconds
    return places


def arcs(lineage: LineageFacts) -> Iterator[str]:
    """Yield an SVG path per edge, from the input's line to that of what was made from it."""
    for given, made in lineage.edges:
        top, bottom = (given + 0.5) * ROW, (made + 0.5) * ROW
        out = REACH - 12 - min(REACH - 34, 22 * (made - given))
        yield (
            f"M{REACH - 12},{top:.0f} C{out},{top:.0f} {out},{bottom:.0f} {REACH - 19},{bottom:.0f}"
        )
