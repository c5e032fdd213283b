"""Artifacts that are altered, dangerous or misnamed: refused, with the file's name."""

import os
import pickle
import time
import zipfile
from pathlib import Path

import pytest
from artifact_folders import leftovers, make

from tunesmith.errors import ArtifactError
from tunesmith.store import ArtifactStore


@pytest.mark.parametrize("text", ["hellO", "hell", ""])
def test_an_altered_or_truncated_file_is_refused_by_name(artifacts: ArtifactStore, text: str):
    made = make(artifacts)
    (made.path / "train.jsonl").write_text(text)
    with pytest.raises(
        ArtifactError, match=r"train\.jsonl (was altered|has \d bytes instead of 5)"
    ):
        artifacts.get(made.id)


def test_a_file_altered_after_it_was_checked_is_refused(artifacts: ArtifactStore):
    made = make(artifacts)
    time.sleep(0.15)
    artifacts.get(made.id)
    times = (made.path / "train.jsonl").stat()
    (made.path / "train.jsonl").write_text("hellO")
    os.utime(made.path / "train.jsonl", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ArtifactError, match="altered"):
        artifacts.get(made.id)


def test_a_missing_an_added_and_a_linked_file_are_refused(artifacts: ArtifactStore):
    made = make(artifacts)
    (made.path / "new.py").write_text("boo")
    with pytest.raises(ArtifactError, match=r"new\.py was added"):
        artifacts.get(made.id)
    (made.path / "new.py").unlink()
    (made.path / "more" / "card.json").unlink()
    with pytest.raises(ArtifactError, match=r"card\.json is missing"):
        artifacts.get(made.id)
    (made.path / "more" / "card.json").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="symbolic link"):
        artifacts.get(made.id)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text.replace('"seed": null', '"seed": 8'), "was altered"),
        (lambda text: text.replace('"metrics": {}', '"metrics": {"win": 1}'), "was altered"),
        (lambda text: text[:50], "is not a manifest"),
        (lambda text: "[]", "is not a manifest"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(artifacts: ArtifactStore, edit, said: str):
    made = make(artifacts)
    path = made.path / "manifest.json"
    path.write_text(edit(path.read_text()))
    with pytest.raises(ArtifactError, match=said):
        artifacts.get(made.id)


def test_a_missing_artifact_names_the_nearest(artifacts: ArtifactStore):
    made = make(artifacts)
    wrong = made.id[:-1] + ("0" if made.id[-1] != "0" else "1")
    with pytest.raises(ArtifactError, match=f"Did you mean '{made.id}'"):
        artifacts.get(wrong)


@pytest.mark.parametrize(
    "wrong", ["..", "../x", "/etc", "", "dataset-XYZ", "dataset-0123456789abcde\n", ".drafts"]
)
def test_what_is_not_an_id_never_becomes_a_path(artifacts: ArtifactStore, wrong: str):
    with pytest.raises(ArtifactError, match="not an artifact id"):
        artifacts.get(wrong)


def test_an_artifact_that_is_a_link_is_refused(artifacts: ArtifactStore, tmp_path: Path):
    made = make(artifacts)
    made.path.rename(tmp_path / made.id)
    made.path.symlink_to(tmp_path / made.id)
    with pytest.raises(ArtifactError, match="No artifact"):
        artifacts.get(made.id)


class Bomb:
    def __reduce__(self):
        return (os.system, ("false",))


def _pickle_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("weights.pt", lambda path: path.write_bytes(b"")),
        ("a/b.CKPT", lambda path: path.write_bytes(b"")),
        *(
            ("pytorch_model.bin", lambda path, p=p: path.write_bytes(pickle.dumps(Bomb(), p)))
            for p in (2, 3, 4, 5)
        ),
        ("model.safetensors", lambda path: path.write_bytes(pickle.dumps({"w": [1.0] * 9}))),
        ("training_args.bin", _pickle_zip),
        ("innocent", _pickle_zip),
    ],
)
def test_a_pickle_is_refused_whatever_it_is_called(artifacts: ArtifactStore, name: str, write):
    with pytest.raises(ArtifactError, match="pickle checkpoint"), artifacts.draft("model") as draft:
        (draft.path / name).parent.mkdir(exist_ok=True)
        write(draft.path / name)
        draft.commit()
    assert artifacts.ids() == []
    assert leftovers(artifacts) == []


@pytest.mark.parametrize("header", [640, 0x0480, 1152, 0x2E80])
def test_a_safetensors_file_whose_header_looks_like_a_pickle_is_accepted(
    artifacts: ArtifactStore, header: int
):
    with artifacts.draft("model") as draft:
        bytes_ = header.to_bytes(8, "little") + b"{}".ljust(header)
        (draft.path / "model.safetensors").write_bytes(bytes_)
        (draft.path / "model.bin").write_bytes(b"\x06\x00\x00\x00ctranslate2")
        assert artifacts.get(draft.commit().id)


@pytest.mark.parametrize(
    "name", ["a\\b", "con.txt", "x.", "x ", "a:b", "tab\t", "\u202egpj.exe", b"\xff\xfe", "q?" * 3]
)
def test_a_name_that_would_not_survive_elsewhere_is_refused(artifacts: ArtifactStore, name):
    with pytest.raises(ArtifactError, match="not a name"), artifacts.draft("dataset") as draft:
        (draft.path / os.fsdecode(name)).write_text("x")
        draft.commit()


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _folder_link(path: Path) -> None:
    path.symlink_to("/etc")


def _hard_link(path: Path) -> None:
    outside = path.parent.parent.parent / "outside"
    outside.write_text("x")
    path.hardlink_to(outside)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [_link, _folder_link, _hard_link, _pipe])
def test_links_and_pipes_in_a_draft_are_refused(artifacts: ArtifactStore, plant):
    with (
        pytest.raises(ArtifactError, match=r"link|plain file"),
        artifacts.draft("dataset") as draft,
    ):
        plant(draft.path / "planted")
        draft.commit()
    assert leftovers(artifacts) == []


def test_unknown_inputs_kinds_and_numbers_that_are_none_are_refused(artifacts: ArtifactStore):
    for wrong, said in (
        ({"inputs": ["dataset-0123456789abcdef"]}, "is not in"),
        ({"inputs": ["../etc"]}, "not an artifact id"),
        ({"metrics": {"loss": float("nan")}}, "finite"),
        ({"config": {"path": Path("x")}}, "cannot hold this"),
    ):
        with pytest.raises(ArtifactError, match=said):
            make(artifacts, **wrong)
    with pytest.raises(ArtifactError, match="not a kind"):
        artifacts.draft("../x")
