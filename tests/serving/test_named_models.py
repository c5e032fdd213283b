"""What the names on the command line stand for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tunesmith.errors import StoreError
from tunesmith.models import resolve_model
from tunesmith.serving.named_models import targets
from tunesmith.store import Artifact, Store, registry

NANO = resolve_model("builtin:nano")


def model(store: Store, source: Path) -> Artifact:
    with store.artifacts.draft("model") as draft:
        shutil.copytree(source, draft.path, dirs_exist_ok=True)
        (draft.path / "manifest.json").unlink(missing_ok=True)
        return draft.commit()


def released(store: Store, made: Artifact, name: str, engine: dict) -> Artifact:
    """Release a model as the stage `release` does: a bundle that names it and its engine."""
    with store.artifacts.draft("bundle") as draft:
        bundle = {"model": made.id, "engine": engine}
        (draft.path / "bundle.json").write_text(json.dumps(bundle))
        artifact = draft.commit(inputs=[made.id])
    registry.register(store, name, artifact.id, author="ann")
    registry.set_alias(store, name, "production", 1, actor="ann")
    return artifact


def test_an_alias_and_a_version_are_the_model_in_the_bundle_on_its_engine(store: Store, q8: Path):
    made = model(store, q8)
    bundle = released(store, made, "small", {"name": "llamacpp", "parallel": 2})
    for name in ("small@production", "small@1", "production"):
        found = targets([name])[0]
        assert (found.id, found.folder) == (name, store.artifacts.get(made.id).path)
        assert found.engine == {"name": "llamacpp", "parallel": 2}
        assert found.facts == {"model": "small", "version": 1, "artifact": bundle.id}


def test_an_alias_that_two_models_have_must_be_said_whole(store: Store, q8: Path):
    made = model(store, q8)
    for name in ("one", "two"):
        released(store, made, name, {"name": "llamacpp"})
    with pytest.raises(StoreError, match="Say which: one@production, two@production"):
        targets(["production"])


def test_folders_get_the_engine_that_reads_them_and_ids_of_their_own(q8: Path):
    found = targets(["nano", f"fast={q8}", "again=builtin:nano"])
    assert [(one.id, one.engine["name"]) for one in found] == [
        ("nano", "transformers"), ("fast", "llamacpp"), ("again", "transformers"),
    ]  # fmt: skip
    assert [one.folder for one in found] == [NANO, q8, NANO]


def test_a_deployed_folder_runs_on_the_engine_it_was_measured_on(tmp_path: Path):
    folder = tmp_path / "deployed"
    shutil.copytree(NANO, folder)
    engine = {"name": "transformers", "dtype": "bfloat16"}
    (folder / "bundle.json").write_text(json.dumps({"model": "x", "engine": engine}))
    assert targets([str(folder)])[0].engine == engine
    assert targets([str(folder)], {"name": "transformers"})[0].engine == {"name": "transformers"}
