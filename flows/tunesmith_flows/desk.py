"""What the stages of one run share in one process: the store, the config, the screen, the stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.store import queries, runs

if TYPE_CHECKING:
    from tunesmith.config import Lifecycle
    from tunesmith.store import Store
    from tunesmith_flows.progress import Progress

BETWEEN_WRITES = 0.5
"""Seconds: a curve goes to the database at most twice a second."""


@dataclass(slots=True)
class Desk:
    """One run in this process. Tasks carry its id; what cannot be JSON lies here."""

    store: Store
    run_id: str
    config: Lifecycle
    progress: Progress | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def facts(self) -> dict[str, Any]:
        """Return what plugins are told of the run."""
        return {"id": self.run_id, "name": self.config.name}


_desks: dict[str, Desk] = {}


@contextmanager
def seated(desk: Desk) -> Iterator[Desk]:
    """Let the tasks of this process find the desk by the run's id."""
    before = _desks.get(desk.run_id)
    _desks[desk.run_id] = desk
    try:
        yield desk
    finally:
        if before is None:
            del _desks[desk.run_id]


def taken(run_id: str) -> bool:
    """Say whether this process works on a run."""
    return run_id in _desks


def of(run_id: str) -> Desk:
    """Return the desk of a run; a task that a worker runs elsewhere opens one from the store."""
    if run_id not in _desks:
        return opened(run_id)
    return _desks[run_id]


def opened(run_id: str, store: Store | None = None) -> Desk:
    """Return a desk for a stored run, without a screen."""
    from tunesmith import store as stores
    from tunesmith.config import Lifecycle

    store = store or stores.open()
    return Desk(store, run_id, Lifecycle.model_validate(queries.run(store, run_id).config))


class Curve:
    """Takes points as fast as they come; the screen sees each, the database gets batches."""

    def __init__(self, desk: Desk, stage: str) -> None:
        """Collect for one stage of the desk's run."""
        self.desk, self.stage = desk, stage
        self.log = runs.CurveLog(desk.store, desk.run_id, stage, every_s=BETWEEN_WRITES)

    def __call__(self, point: dict[str, Any]) -> None:
        """Show a point, and store it if it says at which step it was."""
        if self.desk.progress:
            self.desk.progress.point(self.stage, point)
        if "step" in point:
            self.log({name: value for name, value in point.items() if _number(value)})


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
