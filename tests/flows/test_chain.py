"""The whole chain as plain functions: what is made, and what runs again when something changes."""

import json

import pytest
from tests.flows.conftest import artifact

from tunesmith.errors import ConfigError, GateRefused
from tunesmith.store import open_store, queries, registry

ALL = ("data", "tune", "respond", "collect", "reward", "align", "optimise", "evaluate", "release")
STAGES = (
    "prepare",
    "tune",
    "respond",
    "collect",
    "reward",
    "align",
    "optimise",
    "evaluate",
    "release",
)


def worked(run):
    """Return the stages a run has done itself, in order; those taken from the ledger are not."""
    return [row.stage for row in queries.stages(open_store(), run) if not row.cached]


def test_every_stage_leaves_its_artifact_and_the_version_is_registered(
    home, lifecycle, plainly, tmp_path
):
    done = plainly(lifecycle())
    assert done["status"] == "COMPLETED" and tuple(done["artifacts"]) == STAGES
    for stage, file in {
        "prepare": "card.json",
        "tune": "before_after.jsonl",
        "respond": "pairs.jsonl",
        "collect": "summary.json",
        "reward": "card.json",
        "align": "model.safetensors",
        "optimise": "model.gguf",
        "evaluate": "measurements.json",
        "release": "bundle.json",
    }.items():
        assert (artifact(home, done, stage) / file).is_file(), stage
    version = registry.resolve(open_store(), "small", "candidate")
    assert version.artifact_id == done["artifacts"]["release"]
    assert version.evidence_id == done["artifacts"]["evaluate"]
    assert (tmp_path / "out/m/model.gguf").is_file()
    assert (tmp_path / "out/m/evidence/verdicts.json").is_file()
    assert not list((home / "work").iterdir()), "checkpoints are gone once artifacts are stored"

    again = plainly(lifecycle())
    assert again["artifacts"] == done["artifacts"] and again["run"] != done["run"]
    assert worked(again["run"]) == []

    late = lifecycle(release={"name": "small", "alias": "staging"})
    changed = plainly(late)
    assert worked(changed["run"]) == ["release"]


def test_until_ends_early_and_an_unknown_stage_is_refused(lifecycle, plainly):
    done = plainly(lifecycle(), until="prepare")
    assert list(done["artifacts"]) == ["prepare"] and done["status"] == "COMPLETED"
    with pytest.raises(ConfigError, match=r"no stage 'aling'.*Did you mean 'align'"):
        plainly(lifecycle(), until="aling")


def test_a_gate_that_fails_stores_the_evidence_and_registers_nothing(home, lifecycle, plainly):
    sections = ("data", "tune", "evaluate", "release")
    never = {"name": "at_least", "measurement": "maths_reasoning", "model": "tuned", "value": 1.1}
    tasks = [{"name": "maths_reasoning", "max_new_tokens": 4}]
    config = lifecycle(only=sections, evaluate={"tasks": tasks, "items": 4, "gates": [never]})
    with pytest.raises(GateRefused, match=r"at least 1\.1"):
        plainly(config)
    run = queries.latest_run(open_store())
    assert run.status == "FAILED" and "at least 1.1" in run.reason
    evaluation = next((home / "artifacts").glob("evaluation-*"))
    assert json.loads((evaluation / "verdicts.json").read_text())[0]["passed"] is False
    assert queries.models(open_store()) == []


def test_a_reward_model_below_its_gate_is_stored_but_trains_nobody(home, lifecycle, plainly):
    sections = ("data", "tune", "respond", "collect", "reward", "align")
    reward = {
        "model": {"name": "bradley_terry", "epochs": 0.5, "learning_rate": 1e-9},
        "holdout": 0.4,
        "gate": {"min_of_ceiling": 1.5},
    }
    align = {"method": {"name": "grpo"}, "prompts": 4}
    with pytest.raises(GateRefused, match="may not train"):
        plainly(lifecycle(only=sections, reward=reward, align=align))
    card = next((home / "artifacts").glob("reward_model-*")) / "card.json"
    assert json.loads(card.read_text())["verdict"]["passed"] is False
