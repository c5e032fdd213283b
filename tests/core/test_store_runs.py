"""Runs: ids, states, who holds them, and what they log."""

import math
import time

import pytest
from databases import all_succeed, spawn

from tunesmith.errors import StoreError
from tunesmith.store import Store, queries, reconcile, runs


def test_ids_are_readable_and_numbered_per_name(store: Store):
    ids = [runs.create(store, name, {}) for name in ("nano-demo", "other", "nano-demo")]
    assert ids == ["nano-demo-0001", "other-0001", "nano-demo-0002"]


@pytest.mark.parametrize("name", ["", "../x", "Nano", "a" * 65, "a/b", "-a", "a\0"])
def test_a_name_that_is_not_one_is_refused(store: Store, name: str):
    with pytest.raises(StoreError, match="not a name for a run"):
        runs.create(store, name, {})


def test_the_config_comes_back_as_it_was(store: Store):
    config = {"seed": 7, "text": "é \x00 \ud800", "nested": {"list": [1, 2.5, None, True]}}
    run_id = runs.create(store, "a", config, details={"version": "1"})
    runs.annotate(store, run_id, {"more": 2})
    found = queries.run(store, run_id)
    assert found.config == config
    assert found.details == {"version": "1", "more": 2}


def test_nan_in_a_config_is_refused_by_both_databases(store: Store):
    with pytest.raises(StoreError, match="cannot be stored"):
        runs.create(store, "a", {"x": math.nan})
    assert queries.runs(store) == []


def test_times_are_aware_and_a_finished_run_stops_its_clock(store: Store):
    run_id = runs.create(store, "a", {})
    runs.set_status(store, run_id, "COMPLETED")
    found = queries.run(store, run_id)
    assert found.created_at.utcoffset().total_seconds() == 0
    assert found.seconds == found.seconds


def test_an_unknown_run_or_status_names_the_nearest(store: Store):
    run_id = runs.create(store, "nano-demo", {})
    with pytest.raises(StoreError, match="Did you mean 'nano-demo-0001'"):
        runs.set_status(store, "nano-demo-001", "COMPLETED")
    with pytest.raises(StoreError, match="Did you mean 'COMPLETED'"):
        runs.set_status(store, run_id, "COMPLETE")


def test_runs_are_listed_newest_first_and_filtered(store: Store):
    first, second = (runs.create(store, "a", {}) for _ in range(2))
    third = runs.create(store, "b", {})
    runs.set_status(store, first, "WAITING", reason="needs 12 labels")
    assert [one.id for one in queries.runs(store)] == [third, second, first]
    assert [one.id for one in queries.runs(store, name="a")] == [second, first]
    assert [one.reason for one in queries.runs(store, status="WAITING")] == ["needs 12 labels"]
    assert queries.latest_run(store).id == third
    assert queries.latest_run(store, name="none") is None


def test_a_step_logged_again_replaces_the_old_one(store: Store):
    run_id = runs.create(store, "a", {})
    runs.log_points(store, run_id, "tune", [{"step": 1, "steps": 9, "loss": 3.0, "lr": 0.1}])
    runs.log_points(store, run_id, "tune", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1}])
    assert queries.curves(store, run_id, "tune") == {
        "loss": [(1, 2.0), (2, 1.0)],
        "lr": [(1, 0.1)],
    }
    assert queries.curve_names(store, run_id) == {"tune": ["loss", "lr"]}


def test_nan_and_infinity_in_a_curve_are_kept(store: Store):
    run_id = runs.create(store, "a", {})
    values = [math.nan, math.inf, -math.inf]
    runs.log_points(store, run_id, "t", [{"step": i, "loss": v} for i, v in enumerate(values)])
    assert [str(v) for _, v in queries.curves(store, run_id, "t")["loss"]] == ["nan", "inf", "-inf"]


def test_a_curve_point_that_is_not_a_number_is_refused(store: Store):
    run_id = runs.create(store, "a", {})
    with pytest.raises(StoreError, match="phase='warm'"):
        runs.log_points(store, run_id, "tune", [{"step": 1, "phase": "warm"}])


def test_a_curve_log_writes_the_rest_when_it_is_left(store: Store):
    run_id = runs.create(store, "a", {})
    with pytest.raises(KeyboardInterrupt), runs.CurveLog(store, run_id, "tune") as report:
        for step in range(2000):
            report({"step": step, "loss": 1.0})
        raise KeyboardInterrupt
    assert len(queries.curves(store, run_id, "tune")["loss"]) == 2000


def test_samples_keep_what_a_model_wrote_and_are_replaced_by_item(store: Store):
    run_id = runs.create(store, "a", {})
    before = [
        {"item": "1", "prompt": "p", "text": "nul \x00 and \u202e"},
        {"item": "2", "text": ""},
    ]
    runs.log_samples(store, run_id, "tune", "before", before)
    runs.log_samples(store, run_id, "tune", "after", [{"item": "1", "text": "better"}])
    runs.log_samples(store, run_id, "tune", "after", [{"item": "1", "text": "best"}])
    found = queries.samples(store, run_id, stage="tune")
    assert [(one.variant, one.item, one.content["text"]) for one in found] == [
        ("before", "1", "nul \x00 and \u202e"),
        ("before", "2", ""),
        ("after", "1", "best"),
    ]


def test_a_reason_with_bytes_no_database_takes_is_stored_visibly(store: Store):
    run_id = runs.create(store, "a", {})
    runs.set_status(store, run_id, "FAILED", reason="bad \x00 byte \ud800")
    assert queries.run(store, run_id).reason == "bad \ufffd byte ?"


def _hold(store: Store, name: str, seconds: float) -> None:
    runs.create(store, name, {})
    time.sleep(seconds)


def _wait_for_run(store: Store) -> str:
    while not queries.runs(store):
        time.sleep(0.01)
    return queries.runs(store)[0].id


def test_a_run_that_a_live_process_holds_cannot_be_taken_up(store: Store):
    child = spawn(_hold, store, "a", 60)
    run_id = _wait_for_run(store)
    with pytest.raises(StoreError, match=f"at work in process {child.pid}"):
        runs.resume(store, run_id)
    assert reconcile(store) == []
    child.kill()
    # Killed but not waited for: a zombie still has its process id.
    while reconcile(store) != [run_id]:
        time.sleep(0.01)
    child.join()
    assert queries.run(store, run_id).status == "CRASHED"
    assert reconcile(store) == []
    runs.resume(store, run_id)
    assert queries.run(store, run_id).status == "RUNNING"


def test_a_complete_run_cannot_be_resumed(store: Store):
    run_id = runs.create(store, "a", {})
    runs.set_status(store, run_id, "COMPLETED")
    with pytest.raises(StoreError, match="is complete"):
        runs.resume(store, run_id)


def test_a_run_on_another_machine_is_left_alone(store: Store):
    from tunesmith.store.models import Run

    run_id = runs.create(store, "a", {})
    with store.write() as session:
        run = session.get(Run, run_id)
        run.host, run.machine, run.pid = "elsewhere", "another-boot/1", 1
    assert reconcile(store) == []
    with store.write() as session:
        session.get(Run, run_id).host = runs.current().host
    assert reconcile(store) == [run_id], "the same host with another boot id has been restarted"


def test_a_process_id_that_was_given_to_somebody_else_counts_as_dead(store: Store):
    from tunesmith.store.models import Run

    run_id = runs.create(store, "a", {})
    with store.write() as session:
        session.get(Run, run_id).process_started = "1"
    assert reconcile(store) == [run_id]


def _create_ten(store: Store) -> None:
    for _ in range(10):
        runs.create(store, "same", {})


def test_four_processes_create_runs_without_gap_or_duplicate(store: Store):
    all_succeed([spawn(_create_ten, store) for _ in range(4)])
    assert sorted(one.number for one in queries.runs(store)) == list(range(1, 41))
