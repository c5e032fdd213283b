"""Stages put a model on the engine that the config names, unchanged, and store which it was."""

import json
import shutil

import pytest

from tunesmith import store
from tunesmith.stagekeys import ingredients
from tunesmith.store import queries, runs

AUTO = {"name": "auto", "streams": 2, "prompt": 4, "new": 3}


def artifact(home, done, stage):
    return home / "artifacts" / done["artifacts"][stage]


def read(path, name):
    return json.loads((path / name).read_text())


def answers(home, done):
    lines = (artifact(home, done, "evaluate") / "answers.jsonl").read_text().splitlines()
    return [(one["model"], one["item"], one["text"]) for one in map(json.loads, lines)]


def test_a_model_answers_alike_on_every_engine_at_its_own_precision(lifecycle, plainly, home):
    pytest.importorskip("ctranslate2")
    said = {}
    for engine in ("transformers", "llamacpp", "ctranslate2"):
        evaluate = {"tasks": [{"name": "maths_reasoning", "max_new_tokens": 8}], "items": 4}
        config = lifecycle(only=["data"], evaluate=evaluate | {"engine": engine})
        done = plainly(config)
        said[engine] = answers(home, done)
        (footprint,) = read(artifact(home, done, "evaluate"), "footprints.json")
        assert footprint["engine"] == engine
    assert said["transformers"] == said["llamacpp"] == said["ctranslate2"]


def test_an_int8_model_is_compared_with_its_parent_on_the_very_engine(lifecycle, plainly, home):
    pytest.importorskip("ctranslate2")
    config = lifecycle(
        only=["data"],
        optimise={"quantizer": "ctranslate2"},
        evaluate={"tasks": [{"name": "maths_reasoning", "max_new_tokens": 8}], "items": 4},
        release={"name": "small"},
    )
    done = plainly(config)
    prints = read(artifact(home, done, "evaluate"), "footprints.json")
    found = {one["model"]: (one["engine"], one["parent"]) for one in prints}
    assert found == {
        "base": ("transformers", None),
        "base@ctranslate2": ("ctranslate2", "base"),
        "quantized": ("ctranslate2", "base@ctranslate2"),
    }
    sizes = {one["model"]: one["bytes"] for one in prints}
    assert sizes["quantized"] < 0.4 * sizes["base@ctranslate2"]
    assert read(artifact(home, done, "release"), "bundle.json")["engine"]["name"] == "ctranslate2"


def test_an_engine_chosen_by_measurement_is_stored_with_the_run_and_kept(
    lifecycle, plainly, home, settings
):
    respond = settings["respond"] | {"engine": AUTO, "prompts": 4}
    done = plainly(lifecycle(only=["data"], respond=respond))
    stored = queries.run(store.open(), done["run"]).config["respond"]["engine"]
    assert stored["name"] in ("transformers", "llamacpp", "ctranslate2")
    assert "streams" not in stored
    shutil.rmtree(home / "engines")
    runs.set_status(store.open(), done["run"], "STOPPED", reason="to be resumed")
    again = plainly(None, run_id=done["run"])
    assert again["artifacts"] == done["artifacts"]
    assert not (home / "engines").exists()


def test_the_key_names_what_puts_the_model_on_another_engine(lifecycle, settings):
    respond = settings["respond"] | {"engine": "llamacpp"}
    found = ingredients(lifecycle(only=["data"], respond=respond), "respond", {})["techniques"]
    assert found["llamacpp.form"]["name"] == "gguf"
    assert found["llamacpp.form"]["options"] == {"type": "f32"}
