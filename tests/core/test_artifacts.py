"""Artifacts: named by content, whole or not there, whatever is killed or full."""

import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from artifact_folders import leftovers, make
from databases import NOBODY, all_succeed, spawn

from tunesmith.errors import StoreError
from tunesmith.store import ArtifactStore
from tunesmith.store import manifest as manifests
from tunesmith.store.failures import disk_reason


def test_an_artifact_is_its_files_and_a_manifest(artifacts: ArtifactStore):
    source = make(artifacts)
    made = make(
        artifacts,
        "other",
        inputs=[source.id],
        config={"a": 1},
        seed=7,
        metrics={"n": 2.5},
        versions={"torch": "2.13"},
        fingerprint="abc",
    )
    found = artifacts.get(made.id)
    assert found == made
    assert (found.inputs, found.metrics, found.size) == ([source.id], {"n": 2.5}, 7)
    assert found.manifest["versions"] == {"torch": "2.13"}
    assert found.manifest["fingerprint"] == "abc"
    assert list(found.manifest["files"]) == ["more/card.json", "train.jsonl"]
    assert found.id == f"dataset-{found.digest[:16]}"
    assert artifacts.ids() == sorted([source.id, made.id])
    assert leftovers(artifacts) == []


def test_the_same_content_is_the_same_folder(artifacts: ArtifactStore):
    first = make(artifacts, config={"b": 1, "a": (1, 2)}, versions={"torch": "1"})
    again = make(artifacts, config={"a": [1, 2], "b": 1}, versions={"torch": "2"})
    assert first.id == again.id
    assert again.manifest["versions"] == {"torch": "1"}


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"config": {"a": 1}}, {"metrics": {"a": 1}}, {"text": "x"}]
)
def test_other_content_has_another_name(artifacts: ArtifactStore, other: dict):
    assert make(artifacts).id != make(artifacts, **other).id


def test_neither_time_nor_place_is_in_the_name(artifacts: ArtifactStore, tmp_path: Path):
    assert make(artifacts).id == make(ArtifactStore(tmp_path / "elsewhere")).id


def test_a_draft_left_by_an_exception_leaves_nothing(artifacts: ArtifactStore):
    with pytest.raises(KeyboardInterrupt), artifacts.draft("dataset") as draft:
        (draft.path / "half").write_text("x")
        raise KeyboardInterrupt
    with artifacts.draft("dataset") as draft:
        (draft.path / "forgotten").write_text("x")
    assert leftovers(artifacts) == []
    assert artifacts.ids() == []


def test_a_draft_that_began_as_a_copy_gets_a_manifest_of_its_own(artifacts: ArtifactStore):
    made = make(artifacts)
    with artifacts.draft("dataset") as draft:
        shutil.copytree(made.path, draft.path, dirs_exist_ok=True)
        assert draft.commit().id == made.id


def test_a_damaged_artifact_is_replaced_when_it_is_made_again(artifacts: ArtifactStore):
    made = make(artifacts)
    (made.path / "train.jsonl").write_text("rotten")
    assert make(artifacts) == artifacts.get(made.id)
    assert leftovers(artifacts) == []


def _make_ten(artifacts: ArtifactStore) -> None:
    for number in range(10):
        make(artifacts, str(number))


def test_four_processes_that_store_the_same_content_agree(artifacts: ArtifactStore):
    all_succeed([spawn(_make_ten, artifacts) for _ in range(4)])
    assert len([artifacts.get(one) for one in artifacts.ids()]) == 10
    assert leftovers(artifacts) == []


def _make_for_ever(artifacts: ArtifactStore, name: int) -> None:
    for number in range(10_000):
        make(artifacts, f"{name}-{number}" * 1000)


def test_killed_at_any_moment_what_is_stored_is_whole(artifacts: ArtifactStore):
    for number in range(10):
        child = spawn(_make_for_ever, artifacts, number)
        time.sleep(0.02 + 0.01 * number)
        child.kill()
        child.join()
    artifacts.sweep()
    assert leftovers(artifacts) == []
    assert all(artifacts.get(one) for one in artifacts.ids())


def _fill_and_hang(artifacts: ArtifactStore) -> None:
    with artifacts.draft("model") as draft:
        (draft.path / "half").write_text("x")
        time.sleep(60)


def test_sweep_removes_what_a_killed_process_left_and_nothing_else(artifacts: ArtifactStore):
    made = make(artifacts)
    child = spawn(_fill_and_hang, artifacts)
    while not list(artifacts.drafts.glob("model-*/half")):
        time.sleep(0.01)
    assert artifacts.sweep() == []
    child.kill()
    child.join()
    with artifacts.draft("dataset") as mine:
        assert [path.name[:6] for path in artifacts.sweep()] == ["model-"]
        assert mine.path.is_dir()
    assert leftovers(artifacts) == []
    assert artifacts.get(made.id)


def _fill_the_disk(artifacts: ArtifactStore) -> None:
    # The limit acts like a full disk, but on this process only.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    with pytest.raises(StoreError, match=r"is full.*nothing already stored was lost"):
        make(artifacts, "x" * 200_000)


def test_a_full_disk_is_said_so_and_loses_nothing(artifacts: ArtifactStore):
    made = make(artifacts)
    all_succeed([spawn(_fill_the_disk, artifacts)])
    assert leftovers(artifacts) == []
    assert artifacts.get(made.id)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_recognised_in_the_words_of_other_libraries(tmp_path: Path, error):
    assert "is full" in disk_reason(error, tmp_path)


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path):
    assert disk_reason(RuntimeError("shape mismatch"), tmp_path) is None
    assert disk_reason(PermissionError(13, "no", "/somewhere/else"), tmp_path) is None


def _write_as_nobody(artifacts: ArtifactStore) -> None:
    os.setuid(NOBODY)
    with pytest.raises(StoreError, match="Set TUNESMITH_HOME"):
        make(artifacts)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else_is_said_so(tmp_path_factory: pytest.TempPathFactory):
    artifacts = ArtifactStore(tmp_path_factory.mktemp("a"))
    all_succeed([spawn(_write_as_nobody, artifacts)])


def test_the_digest_covers_what_the_contract_says():
    manifest = {"kind": "k", "files": {}, "inputs": [], "config": {}, "seed": 1, "metrics": {}}
    digest = manifests.digest_of(manifest)
    assert digest == manifests.digest_of({**manifest, "created_at": "now", "versions": {"a": 1}})
    assert json.loads(manifests.canonical({"b": 1, "a": 2})) == {"a": 2, "b": 1}


def test_a_draft_whose_owner_is_a_file_as_it_once_was_is_swept(artifacts: ArtifactStore):
    make(artifacts)
    (artifacts.drafts / "model-0123").mkdir()
    (artifacts.drafts / "model-0123.owner").write_text('{"host": "gone"}')
    artifacts.sweep()
    assert leftovers(artifacts) == []
