"""Runs: making them, what state they are in, and what they log on the way."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tunesmith.errors import StoreError, did_you_mean
from tunesmith.store.columns import now
from tunesmith.store.database import Store
from tunesmith.store.models import RUN_STATUSES, CurvePoint, HeldByProcess, Run, Sample
from tunesmith.store.process import ProcessIdentity, current
from tunesmith.store.upserts import insert

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
FINISHED = ("COMPLETED", "FAILED", "STOPPED", "CRASHED")


def create(
    store: Store,
    name: str,
    config: Mapping[str, Any],
    *,
    details: Mapping[str, Any] | None = None,
) -> str:
    """Begin a run held by this process; return its id, like ``nano-demo-0001``.

    ``config`` is the whole resolved configuration; ``details`` anything else worth keeping
    (plugin versions, the file the config came from).
    """
    if not NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} is not a name for a run; use small letters, digits, '.', '-' and '_'"
            " (at most 64, the first a letter or digit)."
        )
    with store.write() as session:
        store.lock(session, f"run {name}")
        number = _last_number(session, name) + 1
        run = Run(id=f"{name}-{number:04d}", name=name, number=number, status="RUNNING")
        run.config, run.details = dict(config), dict(details or {})
        hold(run)
        session.add(run)
    return run.id


def _last_number(session: Session, name: str) -> int:
    return session.scalar(select(func.max(Run.number)).where(Run.name == name)) or 0


def resume(store: Store, run_id: str) -> None:
    """Take up a run in this process; refuse one that a live process holds, or that is complete."""
    with store.write() as session:
        store.lock(session, f"run id {run_id}")
        run = find(session, run_id)
        if run.status == "COMPLETED":
            raise StoreError(f"The run {run_id} is complete; start a new one with `tunesmith run`.")
        holder = holder_of(run)
        if run.status == "RUNNING" and holder and holder != current() and not holder.is_dead():
            raise StoreError(
                f"The run {run_id} is at work in {holder}. Wait for it, or stop it (Ctrl-C there)."
            )
        run.status, run.reason, run.finished_at, run.updated_at = "RUNNING", None, None, now()
        hold(run)


def set_status(store: Store, run_id: str, status: str, *, reason: str | None = None) -> None:
    """Set a run's status; ``reason`` says what it waits for or why it failed."""
    if status not in RUN_STATUSES:
        raise StoreError(f"No run status {status!r}.{did_you_mean(status, RUN_STATUSES)}")
    with store.write() as session:
        run = find(session, run_id)
        run.status, run.reason, run.updated_at = status, reason, now()
        run.finished_at = now() if status in FINISHED else None
        if status == "RUNNING":
            hold(run)


def annotate(store: Store, run_id: str, details: Mapping[str, Any]) -> None:
    """Add to a run's details."""
    with store.write() as session:
        run = find(session, run_id)
        run.details = {**run.details, **details}


def log_points(store: Store, run_id: str, stage: str, points: Iterable[Mapping[str, Any]]) -> None:
    """Store curve points: ``{"step": 10, "loss": 1.2, "lr": 1e-4}``, in one transaction.

    ``steps`` (the total) is left out. A step logged again, as after a resume, replaces the old.
    """
    rows = {
        (name, int(point["step"])): _row(run_id, stage, name, point)
        for point in points
        for name in point
        if name not in ("step", "steps")
    }
    if not rows:
        return
    with store.write() as session:
        statement = insert(session, CurvePoint)
        update = statement.on_conflict_do_update(
            index_elements=["run_id", "stage", "name", "step"],
            set_={"value": statement.excluded.value},
        )
        session.execute(update, list(rows.values()))


def _row(run_id: str, stage: str, name: str, point: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value = float(point[name])
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"The curve point {name}={point[name]!r} of stage {stage} is not a number."
        ) from error
    # The databases disagree about NaN; NULL means the same to both.
    kept = None if math.isnan(value) else value
    return {"run_id": run_id, "stage": stage, "name": name, "step": point["step"], "value": kept}


@dataclass(slots=True)
class CurveLog:
    """Collects curve points and writes them together, at most ``every_s`` seconds apart.

    Call it with a point (it is a ``tunesmith.records.Report``); leave its ``with`` to write the
    rest. A write per training step would cost more than some steps do.
    """

    store: Store
    run_id: str
    stage: str
    every_s: float = 2.0
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _written: float = field(default_factory=time.monotonic)

    def __call__(self, point: dict[str, Any]) -> None:
        """Take one point."""
        self._waiting.append(dict(point))
        if time.monotonic() - self._written >= self.every_s:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        log_points(self.store, self.run_id, self.stage, self._waiting)
        self._waiting.clear()
        self._written = time.monotonic()

    def __enter__(self) -> CurveLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()


def log_samples(
    store: Store, run_id: str, stage: str, variant: str, samples: Sequence[Mapping[str, Any]]
) -> None:
    """Store what a model answered: dicts with ``item`` (the id of the question) and anything else.

    ``variant`` tells the moments apart (``before``, ``after``); storing an item again replaces it.
    """
    with store.write() as session:
        for sample in samples:
            statement = insert(session, Sample).values(
                run_id=run_id,
                stage=stage,
                variant=variant,
                item=str(sample["item"]),
                content={key: value for key, value in sample.items() if key != "item"},
            )
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["run_id", "stage", "variant", "item"],
                    set_={"content": statement.excluded.content},
                )
            )


def find(session: Session, run_id: str) -> Run:
    """Return a run; raise StoreError with the nearest id when there is none."""
    run = session.get(Run, run_id)
    if run is None:
        known = session.scalars(select(Run.id))
        raise StoreError(
            f"No run {run_id!r}.{did_you_mean(run_id, known)} `tunesmith runs` lists them."
        )
    return run


def hold(row: HeldByProcess) -> None:
    """Write this process into a row as the one at work."""
    here = current()
    row.host, row.machine, row.pid, row.process_started = (
        here.host,
        here.machine,
        here.pid,
        here.started,
    )


def holder_of(row: HeldByProcess) -> ProcessIdentity | None:
    """Return the process that holds a row, if any ever did."""
    if row.pid is None:
        return None
    return ProcessIdentity(row.host or "", row.machine or "", row.pid, row.process_started or "")
