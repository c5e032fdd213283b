"""The ledger: one key, one artifact, one process at a time, whatever is killed in between."""

import time

import pytest
from databases import all_succeed, spawn
from sqlalchemy import select

from tunesmith.errors import StoreError
from tunesmith.store import Artifact, Store, ledger, queries, reconcile, runs
from tunesmith.store.garbage import gc, unreferenced
from tunesmith.store.index import reindex
from tunesmith.store.models import StageAttempt
from tunesmith.store.registry import register


def make(store: Store, text: str = "result", **facts: object) -> Artifact:
    with store.artifacts.draft("dataset") as draft:
        (draft.path / "rows.jsonl").write_text(text)
        return draft.commit(**facts)


def work(store: Store, run_id: str, stage: str, text: str, **facts: object) -> Artifact:
    claim = ledger.claim(store, run_id, stage, text[:64])
    made = make(store, text, **facts)
    ledger.finish(store, claim.attempt, made.id, {"seconds": 1.5})
    return made


def test_a_finished_stage_is_found_by_its_key(store: Store):
    run_id = runs.create(store, "a", {})
    assert ledger.lookup(store, "k") is None
    made = work(store, run_id, "prepare", "k")
    assert ledger.lookup(store, "k") == made.id
    assert ledger.claim(store, run_id, "prepare", "k") == ledger.Claim(artifact=made.id)


def test_a_stage_of_another_run_is_noted_as_cached_and_counted_once(store: Store):
    first, second = (runs.create(store, "a", {}) for _ in range(2))
    made = work(store, first, "prepare", "k")
    for run_id in (first, second, second):
        ledger.cached(store, run_id, "prepare", "k", made.id)
    (done,), (taken,) = queries.stages(store, first), queries.stages(store, second)
    assert (done.cached, done.attempts, done.timings) == (False, 1, {"seconds": 1.5})
    assert (taken.cached, taken.status, taken.artifact_id) == (True, "COMPLETED", made.id)


def test_stages_come_in_the_order_they_were_first_tried(store: Store):
    run_id = runs.create(store, "a", {})
    work(store, run_id, "prepare", "k1")
    failed = ledger.begin(store, run_id, "tune", "k2")
    ledger.fail(store, failed, ValueError("shapes\x00 differ"))
    stopped = ledger.begin(store, run_id, "tune", "k2")
    ledger.stop(store, stopped)
    waiting = ledger.begin(store, run_id, "collect", "k3")
    ledger.wait(store, waiting, "needs 12 labels")
    found = [(one.stage, one.status, one.attempts) for one in queries.stages(store, run_id)]
    assert found == [("prepare", "COMPLETED", 1), ("tune", "STOPPED", 2), ("collect", "WAITING", 1)]
    assert queries.stages(store, run_id)[2].reason == "needs 12 labels"


def test_an_attempt_ends_once(store: Store):
    run_id = runs.create(store, "a", {})
    attempt = ledger.begin(store, run_id, "tune", "k")
    ledger.fail(store, attempt, "no")
    with pytest.raises(StoreError, match="already FAILED"):
        ledger.finish(store, attempt, make(store).id)
    with pytest.raises(StoreError, match="does not exist"):
        ledger.fail(store, 999, "no")
    assert ledger.lookup(store, "k") is None


def test_an_artifact_whose_folder_was_deleted_is_made_again(store: Store):
    run_id = runs.create(store, "a", {})
    made = work(store, run_id, "prepare", "k")
    made.path.rename(store.artifacts.root / "away")
    assert ledger.lookup(store, "k") is None
    assert work(store, run_id, "prepare", "k").id == made.id
    assert ledger.lookup(store, "k") == made.id
    assert ledger.forget(store, made.id) == 1
    assert ledger.lookup(store, "k") is None


def test_an_unknown_run_is_refused(store: Store):
    with pytest.raises(StoreError, match="No run 'nobody-0001'"):
        ledger.begin(store, "nobody-0001", "prepare", "k")


def _hold(store: Store, run_id: str, then: str) -> None:
    claim = ledger.claim(store, run_id, "tune", "k")
    time.sleep(0.5)
    if then == "finish":
        ledger.finish(store, claim.attempt, make(store).id)
    if then == "fail":
        ledger.fail(store, claim.attempt, "out of memory")
    time.sleep(30 if then == "hang" else 0)


def _wait_until_claimed(store: Store, run_id: str) -> None:
    while not queries.stages(store, run_id):
        time.sleep(0.01)


def test_whoever_comes_second_is_told_who_is_at_work(store: Store):
    run_id = runs.create(store, "a", {})
    child = spawn(_hold, store, run_id, "hang")
    _wait_until_claimed(store, run_id)
    with pytest.raises(ledger.StageBusy, match=f"by process {child.pid} on .*run {run_id}"):
        ledger.claim(store, run_id, "tune", "k", wait_s=0.3)
    assert reconcile(store) == []
    child.kill()
    child.join()
    assert ledger.claim(store, run_id, "tune", "k").attempt is not None
    with store.read() as session:
        assert list(session.scalars(select(StageAttempt.status))) == ["CRASHED", "RUNNING"]


@pytest.mark.parametrize("then", ["finish", "fail"])
def test_whoever_waits_gets_the_result_or_the_work(store: Store, then: str):
    run_id = runs.create(store, "a", {})
    child = spawn(_hold, store, run_id, then)
    _wait_until_claimed(store, run_id)
    claim = ledger.claim(store, run_id, "tune", "k", wait_s=30)
    assert (claim.artifact is not None) == (then == "finish")
    assert (claim.attempt is not None) == (then == "fail")
    child.join()


def _race(store: Store, run_id: str) -> None:
    claim = ledger.claim(store, run_id, "tune", "k", wait_s=30)
    if claim.attempt is not None:
        time.sleep(0.2)
        ledger.finish(store, claim.attempt, make(store).id)


def test_of_two_processes_that_claim_a_key_at_once_one_works(store: Store):
    run_id = runs.create(store, "a", {})
    all_succeed([spawn(_race, store, run_id) for _ in range(2)])
    (stage,) = queries.stages(store, run_id)
    assert (stage.status, stage.attempts) == ("COMPLETED", 1)


def test_the_reconciler_ends_the_attempts_of_the_dead_and_can_be_repeated(store: Store):
    run_id = runs.create(store, "a", {})
    mine = ledger.begin(store, run_id, "prepare", "other")
    child = spawn(_hold, store, run_id, "hang")
    while len(queries.stages(store, run_id)) < 2:
        time.sleep(0.01)
    child.kill()
    child.join()
    assert reconcile(store) == [], "this process still holds the run"
    assert reconcile(store) == []
    found = {one.stage: (one.status, one.reason) for one in queries.stages(store, run_id)}
    assert found["prepare"] == ("RUNNING", None)
    assert found["tune"] == (
        "CRASHED",
        f"process {child.pid} on {runs.current().host} ended without a word.",
    )
    ledger.fail(store, mine, "done")


def test_lineage_goes_both_ways(store: Store):
    run_id = runs.create(store, "a", {})
    rows = work(store, run_id, "prepare", "rows")
    model = work(store, run_id, "tune", "model", inputs=[rows.id])
    pairs = work(store, run_id, "respond", "pairs", inputs=[rows.id, model.id])
    reward = work(store, run_id, "reward", "reward", inputs=[pairs.id])
    other = work(store, run_id, "other", "unrelated", inputs=[rows.id])
    found = queries.lineage(store, model.id)
    assert found.up == [rows.id]
    assert found.down == [pairs.id, reward.id]
    assert (pairs.id, reward.id) in found.edges
    assert other.id not in found.nodes
    assert found.runs[model.id] == [run_id]
    assert [one.id for one in queries.artifacts_of(store, run_id)] == [
        one.id for one in (rows, model, pairs, reward, other)
    ]
    assert queries.artifact(store, reward.id).inputs == [pairs.id]


def test_an_artifact_from_elsewhere_is_indexed_with_its_inputs(store: Store, tmp_path):
    from tunesmith.store import ArtifactStore

    outside = ArtifactStore(store.artifacts.root)
    with outside.draft("dataset") as draft:
        (draft.path / "x").write_text("rows")
        rows = draft.commit()
    with outside.draft("model") as draft:
        (draft.path / "x").write_text("model")
        model = draft.commit(inputs=[rows.id])
    run_id = runs.create(store, "a", {})
    ledger.cached(store, run_id, "tune", "k", model.id)
    assert queries.lineage(store, model.id).up == [rows.id]
    assert reindex(store) == []


def test_only_what_nothing_needs_is_deleted(store: Store):
    done, failed = (runs.create(store, "a", {}) for _ in range(2))
    rows = work(store, done, "prepare", "rows" * 100)
    model = work(store, done, "tune", "model", inputs=[rows.id])
    evidence = work(store, done, "evaluate", "evidence")
    waste = work(store, done, "respond", "waste", inputs=[model.id])
    kept = work(store, failed, "tune", "kept for resume")
    register(store, "nano", model.id, author="ann", evidence_id=evidence.id)
    runs.set_status(store, done, "COMPLETED")
    runs.set_status(store, failed, "FAILED")
    assert unreferenced(store) == [], "all of it is young"
    assert [one.id for one in gc(store, young_s=0)] == [waste.id]
    assert waste.path.is_dir(), "a dry run deletes nothing"
    assert [one.id for one in gc(store, dry_run=False, young_s=0)] == [waste.id]
    assert not waste.path.exists()
    assert ledger.lookup(store, "waste") is None
    assert queries.artifact(store, waste.id).deleted_at is not None
    assert queries.lineage(store, model.id).down == [waste.id], "the lineage is still told"
    found = gc(store, young_s=0, keep_unfinished=False)
    assert [(one.id, one.kind) for one in found] == [(kept.id, "dataset")]
    assert all(store.artifacts.get(one.id) for one in (rows, model, evidence, kept))
    assert make(store, "waste", inputs=[model.id]).id == waste.id
    assert queries.artifact(store, waste.id).deleted_at is None
