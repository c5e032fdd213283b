"""A model with virtual tokens goes through a lifecycle as one model: base and adapter together."""

import json

import pytest
from tests.flows.conftest import artifact, rows

from tunesmith import ModelError, TrainingJob
from tunesmith.models import load_model, weights_digest
from tunesmith_flows import optimise
from tunesmith_flows.bench import Bench
from tunesmith_plugins.methods.sft import Sft

PROMPT = {"name": "prompt_tuning", "num_virtual_tokens": 4}


@pytest.fixture
def talking(tmp_path, model):
    """Return a model that says something: virtual tokens cannot teach a random one to."""
    lesson = [row for row in rows() if row["split"] == "train"]
    job = TrainingJob(rows=lesson, out=tmp_path / "talking", work=tmp_path / "w", seed=5)
    job.model_dir = model
    Sft(steps=12, learning_rate=2e-2, dtype="float32").train(job)
    return job.out


@pytest.fixture
def config(lifecycle, talking):
    tasks = [{"name": "maths_reasoning", "max_new_tokens": 8}]
    return lifecycle(
        only=("data", "respond", "release"),
        model=str(talking),
        tune={"method": {"name": "sft", "steps": 6, "dtype": "float32"}, "adapter": PROMPT},
        evaluate={"tasks": tasks, "items": 4},
    )


def test_it_answers_is_evaluated_and_released(home, config, plainly, talking, tmp_path):
    done = plainly(config)
    assert done["status"] == "COMPLETED"
    tuned = artifact(home, done, "tune")
    listed = json.loads((tuned / "manifest.json").read_text())["files"]
    assert {"adapter.json", "adapter/adapter_model.safetensors", "base/config.json"} <= set(listed)
    prints = json.loads((artifact(home, done, "evaluate") / "footprints.json").read_text())
    sizes = {one["model"]: one["bytes"] for one in prints}
    assert sizes["tuned"] > sizes["base"] > 0
    deployed = tmp_path / "out/m"
    assert load_model(deployed).active_peft_config.num_virtual_tokens == 4
    assert weights_digest(deployed) == weights_digest(tuned)

    bench = Bench("optimise", config.model_copy(update={"optimise": _optimise()}), tmp_path / "o",
                  tmp_path / "w", inputs={"tune": _Made(tuned)})  # fmt: skip
    with pytest.raises(ModelError, match=r"optimise makes a model smaller.*virtual tokens"):
        optimise.work(bench)
    assert not (tmp_path / "o").exists()


def _optimise():
    from tunesmith.config import Optimise

    return Optimise()


class _Made:
    """What a bench reads of an artifact: its folder."""

    def __init__(self, path):
        self.path = path
