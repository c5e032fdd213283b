"""Many writers at once, and writers that are killed: nothing acknowledged is ever lost."""

import os
import random
import time

from databases import all_succeed, spawn
from sqlalchemy import func, select, text

from tunesmith.records import Label, Pair
from tunesmith.store import Store, campaigns, labelling, queries, runs
from tunesmith.store.models import Assignment, PairItem, Preference

PAIRS = [Pair(f"pair-{i}", "creative_writing", [], "a", "b", {}) for i in range(400)]


def _write_ten(store: Store, run_id: str, number: int) -> None:
    for step in range(10):
        runs.log_points(store, run_id, f"stage-{number}", [{"step": step, "loss": 1.0}])
        queries.curves(store, run_id, f"stage-{number}")


def test_eight_processes_write_at_once_without_a_locked_database(store: Store):
    run_id = runs.create(store, "a", {})
    all_succeed([spawn(_write_ten, store, run_id, number) for number in range(8)])
    found = [queries.curves(store, run_id, f"stage-{n}")["loss"] for n in range(8)]
    assert [len(points) for points in found] == [10] * 8


def _label_and_tell(store: Store, name: str, told: int) -> None:
    while (turn := labelling.next_assignment(store, "c", name)) is not None:
        labelling.record_label(store, turn.assignment_id, name, "left")
        os.write(told, f"{turn.assignment_id}\n".encode())
    time.sleep(60)


def _kill_soon(store: Store, name: str) -> set[int]:
    """Let a process label for a moment, kill it, and return the labels it was told are stored."""
    heard, told = os.pipe()
    child = spawn(_label_and_tell, store, name, told)
    os.close(told)
    first = os.read(heard, 100)
    time.sleep(random.random() * 0.03)
    child.kill()
    with os.fdopen(heard, "rb") as rest:
        lines = (first + rest.read()).decode().splitlines(keepends=True)
    child.join()
    return {int(line) for line in lines if line.endswith("\n")}


def test_twenty_killed_writers_lose_no_acknowledged_label(store: Store):
    campaigns.create(store, "c", PAIRS, overlap=20)
    acknowledged = set().union(*(_kill_soon(store, f"person-{i}") for i in range(20)))
    with store.read() as session:
        stored = set(session.scalars(text("SELECT assignment_id FROM preference")))
        if store.is_sqlite:
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
            assert session.execute(text("PRAGMA foreign_key_check")).all() == []
    assert len(acknowledged) >= 20
    assert acknowledged <= stored


def _answer_ten(store: Store, name: str) -> None:
    for _ in range(10):
        turn = labelling.next_assignment(store, "c", name)
        labelling.record_label(store, turn.assignment_id, name, "tie")


def test_a_store_opened_before_a_fork_works_in_both_processes(store: Store):
    campaigns.create(store, "c", PAIRS, overlap=2)
    assert labelling.next_assignment(store, "c", "parent") is not None
    child = spawn(_answer_ten, store, "child")
    _answer_ten(store, "parent")
    all_succeed([child])
    assert campaigns.progress(store, "c").by_annotator == {"child": 10, "parent": 10}


def test_the_next_pair_is_found_quickly_in_a_large_campaign(store: Store):
    pairs = [Pair(f"p{i}", "t", [], "a", "b", {}) for i in range(1500)]
    campaigns.create(store, "c", pairs, overlap=2)
    given = [Label(f"p{i}", name, "tie") for i in range(1400) for name in ("x", "y")]
    campaigns.import_labels(store, "c", given)
    began = time.perf_counter()
    assert labelling.next_assignment(store, "c", "ann").pair.id == "p1400"
    assert time.perf_counter() - began < 0.5


def _label_everything(store: Store, name: str) -> None:
    while (turn := labelling.next_assignment(store, "c", name)) is not None:
        labelling.record_label(store, turn.assignment_id, name, "tie")


def test_eight_people_at_once_never_exceed_the_overlap(store: Store):
    campaigns.create(store, "c", PAIRS[:12], overlap=3)
    all_succeed([spawn(_label_everything, store, f"person-{i}") for i in range(8)])
    per_pair = (
        select(func.count())
        .select_from(Preference)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .join(PairItem, PairItem.id == Assignment.pair_item_id)
        .group_by(PairItem.id)
    )
    with store.read() as session:
        assert list(session.scalars(per_pair)) == [3] * 12


def _send_twice(store: Store, assignment_id: int, choice: str) -> None:
    labelling.record_label(store, assignment_id, "ann", choice)


def test_a_double_click_from_two_processes_stores_one_label(store: Store):
    campaigns.create(store, "c", PAIRS[:5])
    for _ in range(5):
        turn = labelling.next_assignment(store, "c", "ann")
        clicks = ("left", "right", "left", "right")
        all_succeed([spawn(_send_twice, store, turn.assignment_id, one) for one in clicks])
    assert campaigns.progress(store, "c").labels == 5
