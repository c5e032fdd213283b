"""Questions about runs: their state, stages, curves and samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.models import CurvePoint, Run, Sample, StageAttempt
from tunesmith.store.runs import find


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in a list. ``pid`` and ``host`` say where it is, or was last, at work."""

    id: str
    name: str
    number: int
    status: str
    reason: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    pid: int | None
    host: str | None

    @property
    def seconds(self) -> float:
        """Seconds from its beginning to its end, or until now."""
        return ((self.finished_at or now()) - self.created_at).total_seconds()


@dataclass(frozen=True, slots=True)
class RunDetail(RunRow):
    """One run with its whole configuration."""

    config: dict[str, Any]
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage as its newest attempt left it; ``cached`` when this run did not work on it."""

    stage: str
    status: str
    cached: bool
    key: str
    artifact_id: str | None
    reason: str | None
    started_at: datetime
    finished_at: datetime | None
    timings: dict[str, float]
    attempts: int

    @property
    def seconds(self) -> float:
        """Seconds that the newest attempt took, or has taken until now."""
        return ((self.finished_at or now()) - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class SampleRow:
    """What a model answered; ``content`` holds prompt, text and whatever was logged with them."""

    stage: str
    variant: str
    item: str
    content: dict[str, Any]


def runs(
    store: Store, *, name: str | None = None, status: str | None = None, limit: int = 100
) -> list[RunRow]:
    """Return runs, newest first."""
    wanted = select(Run).order_by(Run.created_at.desc(), Run.number.desc()).limit(limit)
    if name is not None:
        wanted = wanted.where(Run.name == name)
    if status is not None:
        wanted = wanted.where(Run.status == status)
    with store.read() as session:
        return [RunRow(**_row(run)) for run in session.scalars(wanted)]


def latest_run(store: Store, *, name: str | None = None) -> RunRow | None:
    """Return the newest run, if there is one."""
    return next(iter(runs(store, name=name, limit=1)), None)


def run(store: Store, run_id: str) -> RunDetail:
    """Return one run; StoreError names the nearest id when there is none."""
    with store.read() as session:
        found = find(session, run_id)
        return RunDetail(**_row(found), config=found.config, details=found.details)


def _row(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "number": run.number,
        "status": run.status,
        "reason": run.reason,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "finished_at": run.finished_at,
        "pid": run.pid,
        "host": run.host,
    }


def stages(store: Store, run_id: str) -> list[StageRow]:
    """Return a run's stages in the order in which they were first tried."""
    wanted = select(StageAttempt).where(StageAttempt.run_id == run_id).order_by(StageAttempt.id)
    tries: dict[str, list[StageAttempt]] = {}
    with store.read() as session:
        find(session, run_id)
        for attempt in session.scalars(wanted):
            tries.setdefault(attempt.stage, []).append(attempt)
    return [_stage(attempts) for attempts in tries.values()]


def _stage(attempts: Sequence[StageAttempt]) -> StageRow:
    last = attempts[-1]
    return StageRow(
        stage=last.stage,
        status="COMPLETED" if last.status == "CACHED" else last.status,
        cached=last.status == "CACHED",
        key=last.key,
        artifact_id=last.artifact_id,
        reason=last.reason,
        started_at=last.started_at,
        finished_at=last.finished_at,
        timings=last.timings,
        attempts=len(attempts),
    )


def curves(store: Store, run_id: str, stage: str) -> dict[str, list[tuple[int, float]]]:
    """Return a stage's curves by name: ``(step, value)`` in the order of the steps, NaN too."""
    wanted = (
        select(CurvePoint.name, CurvePoint.step, CurvePoint.value)
        .where(CurvePoint.run_id == run_id, CurvePoint.stage == stage)
        .order_by(CurvePoint.name, CurvePoint.step)
    )
    found: dict[str, list[tuple[int, float]]] = {}
    with store.read() as session:
        for name, step, value in session.execute(wanted):
            found.setdefault(name, []).append((step, math.nan if value is None else value))
    return found


def curve_names(store: Store, run_id: str) -> dict[str, list[str]]:
    """Return the names of a run's curves by stage."""
    pairs = select(CurvePoint.stage, CurvePoint.name).where(CurvePoint.run_id == run_id).distinct()
    found: dict[str, list[str]] = {}
    with store.read() as session:
        for stage, name in session.execute(pairs.order_by(CurvePoint.stage, CurvePoint.name)):
            found.setdefault(stage, []).append(name)
    return found


def samples(
    store: Store, run_id: str, *, stage: str | None = None, variant: str | None = None
) -> list[SampleRow]:
    """Return a run's samples in the order in which they were logged."""
    wanted = select(Sample).where(Sample.run_id == run_id).order_by(Sample.id)
    if stage is not None:
        wanted = wanted.where(Sample.stage == stage)
    if variant is not None:
        wanted = wanted.where(Sample.variant == variant)
    with store.read() as session:
        return [
            SampleRow(one.stage, one.variant, one.item, one.content)
            for one in session.scalars(wanted)
        ]
