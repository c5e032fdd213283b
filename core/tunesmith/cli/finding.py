"""Which run a command means."""

from __future__ import annotations

from tunesmith import store as stores
from tunesmith.errors import StoreError
from tunesmith.store import Store, queries
from tunesmith.store.queries import RunDetail

OPEN = ("RUNNING", "WAITING", "STOPPED", "FAILED", "CRASHED")


def chosen(store: Store, run_id: str | None) -> str:
    """Return the id that was given (StoreError if there is none such), else the newest run's."""
    if run_id is not None:
        return queries.run(store, run_id).id
    newest = queries.latest_run(store)
    if newest is None:
        raise StoreError("There are no runs yet. Start one: `tunesmith run lifecycle.yaml`.")
    return newest.id


def unfinished(run_id: str | None) -> RunDetail:
    """Return the run to go on with; StoreError when there is none."""
    store = stores.open()
    stores.reconcile(store)
    if run_id is not None:
        return queries.run(store, run_id)
    for row in queries.runs(store):
        if row.status in OPEN and row.status != "RUNNING":
            return queries.run(store, row.id)
    raise StoreError("No run is waiting, stopped or failed, so there is nothing to go on with.")
