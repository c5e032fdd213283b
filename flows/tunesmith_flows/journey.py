"""One passage of a run through its stages, whichever way it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith import Waiting, plugins, saved_prompts, stages
from tunesmith import store as stores
from tunesmith.errors import Stopped
from tunesmith.store import queries, runs
from tunesmith_flows import desk as desks
from tunesmith_flows.desk import Desk
from tunesmith_flows.staging import interrupts

if TYPE_CHECKING:
    from tunesmith.config import Lifecycle


@dataclass(slots=True)
class Journey:
    """The stages to go through, what they have made, and how it ended."""

    desk: Desk
    stages: list[str]
    made: dict[str, str] = field(default_factory=dict)
    status: str = "RUNNING"
    reason: str | None = None

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.desk.run_id

    def report(self) -> dict[str, Any]:
        """Return what the caller wants to know, as JSON."""
        return {
            "run": self.run_id,
            "status": self.status,
            "reason": self.reason,
            "artifacts": dict(self.made),
        }


@contextmanager
def begun(
    config: dict[str, Any] | str | Lifecycle, until: str | None = None, run_id: str | None = None
) -> Iterator[Journey]:
    """Yield a journey whose run is recorded, and record how it ends.

    Waiting for people and a stop are ends that the caller reads in ``status``; errors are stored
    and raised.
    """
    desk = _desk(config, until, run_id)
    trip = Journey(desk, [stage.name for stage in stages.planned(desk.config, until)])
    with desks.seated(desk):
        plugins.announce("run_started", run=desk.facts())
        try:
            yield trip
        except Waiting as waiting:
            _end(trip, "WAITING", waiting.reason)
        except Stopped as stopped:
            _end(trip, "STOPPED", str(stopped))
        except BaseException as error:  # whatever it is, the run must not stay RUNNING
            stopped_at_once = interrupts(error)
            reason = "Interrupted." if stopped_at_once else str(error) or type(error).__name__
            _end(trip, "STOPPED" if stopped_at_once else "FAILED", reason)
            raise
        else:
            _end(trip, "COMPLETED", None)


def _end(trip: Journey, status: str, reason: str | None) -> None:
    trip.status, trip.reason = status, reason
    runs.set_status(trip.desk.store, trip.run_id, status, reason=reason)
    error = reason if status in ("FAILED", "STOPPED") else None
    plugins.announce("run_finished", run=trip.desk.facts(), error=error)


def _desk(config: dict[str, Any] | str | Lifecycle, until: str | None, run_id: str | None) -> Desk:
    """Return the desk of the run; one that nobody has set up yet is set up here."""
    if run_id is None:
        return new_desk(read(config), until)
    return desks.of(run_id) if desks.taken(run_id) else old_desk(run_id)


def new_desk(config: Lifecycle, until: str | None) -> Desk:
    """Check everything, then record a new run held by this process."""
    from tunesmith import preflight

    store = _settled_store()
    config = saved_prompts.settled(config, store)
    found = preflight.plan(config, until=until, store=store).require()
    config = preflight.settled(config, found.chosen)
    whole = config.model_dump(mode="json")
    run_id = runs.create(store, config.name, whole, details={"until": until})
    return Desk(store, run_id, config)


def old_desk(run_id: str) -> Desk:
    """Take up a run that waits, was stopped, failed, or whose process died."""
    store = _settled_store()
    runs.resume(store, run_id)
    return desks.opened(run_id, store)


def _settled_store() -> stores.Store:
    """Open the store, and put right what processes that were killed left behind."""
    store = stores.open()
    stores.reconcile(store)
    store.artifacts.sweep()
    return store


def stored_until(desk: Desk) -> str | None:
    """Return the stage after which the run was asked to end."""
    found: str | None = queries.run(desk.store, desk.run_id).details.get("until")
    return found


def title(desk: Desk) -> str:
    """Return what stands above the table of stages."""
    return f"{desk.run_id}  model {desk.config.model}  seed {desk.config.seed}"


def read(config: dict[str, Any] | str | Lifecycle) -> Lifecycle:
    """Return a configuration given as itself, as its JSON, or as the path of its YAML."""
    from tunesmith.config import Lifecycle, check_config, load_config

    if isinstance(config, Lifecycle):
        return config
    if isinstance(config, str):
        return load_config(config)
    return check_config(config)
