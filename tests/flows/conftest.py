"""A whole lifecycle small enough for a test: forty rows, a random model, a few steps."""

import json
from pathlib import Path
from random import Random

import pytest
from tiny_models import SHAPE, tiny_model

THINGS = ("kite", "drum", "lamp", "boat", "stone", "apple")
MOODS = ("happy", "sad", "funny")


def rows(count=48):
    """Return sums and wishes for stories, a fixed share of them in each split."""
    rng = Random(3)
    made = []
    for number in range(count):
        split = ("train", "train", "prompts", "prompts", "test", "validation")[number % 6]
        a, b = rng.randint(2, 60), rng.randint(2, 60)
        made.append(
            row(f"sum-{number}", split, "maths_reasoning", f"What is {a} plus {b}?", f"{a + b}.")
            | {"reference": {"answer": str(a + b)}}
        )
        mood, thing = rng.choice(MOODS), rng.choice(THINGS)
        wish = f"Tell a {mood} story in 2 sentences about a {thing} number {number}."
        made.append(
            row(f"story-{number}", split, "creative_writing", wish, f"A {thing} was {mood}. So.")
            | {"reference": {"mood": mood, "sentences": 2, "thing": thing}}
        )
    return made


def row(name, split, task, question, answer):
    return {
        "id": name,
        "split": split,
        "task": task,
        "question": question,
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }


@pytest.fixture(scope="session")
def model():
    return tiny_model(context=1024)


@pytest.fixture(scope="session")
def sharp(tmp_path_factory):
    """A folder with a random model that has preferences."""
    import torch

    from tunesmith.models import load_tokenizer, save_model
    from tunesmith.training.scratch import new_model

    tokenizer = load_tokenizer(tiny_model())
    shape = SHAPE.model_copy(update={"tied_embeddings": False, "context": 256})
    model = new_model(shape, tokenizer, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter *= 25.0 if "lm_head" in name else 10.0
    folder = tmp_path_factory.mktemp("sharp")
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    path = tmp_path / "home"
    monkeypatch.setenv("TUNESMITH_HOME", str(path))
    return path


@pytest.fixture
def settings(tmp_path, model):
    """Return a whole lifecycle as the mapping a YAML file would hold."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in rows()), encoding="utf-8")
    (tmp_path / "out").mkdir()
    return {
        "name": "small",
        "seed": 5,
        "model": str(model),
        "data": {"sources": [{"name": "jsonl", "path": str(data)}], "filters": ["exact_dedup"]},
        "tune": {
            # Enough to say something: a random model with tied embeddings repeats line breaks.
            "method": {"name": "sft", "steps": 12, "learning_rate": 2e-2, "dtype": "float32"},
            "adapter": {"name": "lora", "r": 8},
        },
        "respond": {"prompts": 16, "tasks": ["creative_writing"], "answers": 2},
        "collect": {"source": {"name": "simulated"}},
        "reward": {
            "model": {"name": "bradley_terry", "epochs": 1, "dtype": "float32"},
            "holdout": 0.4,
            "gate": None,
        },
        "align": {
            "method": {"name": "dpo", "dtype": "float32"},
            "adapter": {"name": "lora", "r": 2},
        },
        "optimise": {"quantizer": {"name": "gguf", "type": "q8_0"}},
        "evaluate": {
            "tasks": [{"name": "maths_reasoning", "max_new_tokens": 8}],
            "items": 4,
            "win_rate": {"task": "creative_writing", "prompts": 4},
        },
        "release": {
            "name": "small",
            "deployer": {"name": "folder", "path": str(tmp_path / "out/m")},
        },
    }


@pytest.fixture
def lifecycle(home, settings):
    """Return a function that makes a config of some of the sections, with changes."""
    from tunesmith.config import Lifecycle

    def make(*, only=None, **changes) -> Lifecycle:
        wanted = {
            key: value
            for key, value in settings.items()
            if only is None or key in ("name", "seed", "model", *only)
        }
        return Lifecycle.model_validate({**wanted, **changes})

    return make


@pytest.fixture
def plainly():
    """Return a function that runs a config's stages as plain functions."""
    from tunesmith_flows import journey
    from tunesmith_flows.lifecycle import STAGES

    def run(config, until=None, run_id=None):
        with journey.begun(config, until, run_id) as trip:
            for stage in trip.stages:
                trip.made[stage] = STAGES[stage].fn(trip.run_id, trip.made)
        return trip.report()

    return run


def artifact(home: Path, report: dict, stage: str) -> Path:
    """Return the folder of what a stage made."""
    return home / "artifacts" / report["artifacts"][stage]
