"""A stage in one line, and how long such stages took before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith import stages
from tunesmith.config import Lifecycle
from tunesmith.places import places

if TYPE_CHECKING:
    from tunesmith.store import Store

_LOOK_BACK = 20
"""Runs; older timings say little of this machine."""


def describe(config: Lifecycle, stage: str) -> str:
    """Return the techniques of a stage, e.g. ``grpo, lora``."""
    section = next(one.section for one in stages.STAGES if one.name == stage)
    own = [place for place in places(config) if place.section == section]
    names = [str(place.spec.get("name", "?")) for place in own if ".style" not in place.path]
    return ", ".join(dict.fromkeys(names))


def past_seconds(store: Store, name: str) -> dict[str, float]:
    """Return what each stage took when a run of this name last worked on it, in seconds."""
    from tunesmith.store import queries

    found: dict[str, float] = {}
    for run in queries.runs(store, name=name, limit=_LOOK_BACK):
        for row in queries.stages(store, run.id):
            worked = row.status == "COMPLETED" and not row.cached
            if worked and row.stage not in found:
                found[row.stage] = row.timings.get("work_seconds", row.seconds)
    return found
