"""The optimise stage teaches a smaller model with every distiller, from a lifecycle file."""

import json

import pytest
import yaml
from tests.flows.conftest import artifact

from tunesmith import configfile, preflight
from tunesmith.models import load_model
from tunesmith.store import open_store

TINY = {"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2, "kv_heads": 1}
STEPS = {"steps": 2, "dtype": "float32"}
ANSWERS = {"max_new_tokens": 4}
DISTILLERS = {
    "sequence": {"student": TINY, "truncated": "keep", **ANSWERS, **STEPS},
    "logit": {"student": TINY, "divergence": "reverse_kl", **STEPS},
    "on_policy": {"batch_size": 4, **ANSWERS, **STEPS},
}


@pytest.mark.parametrize("name", DISTILLERS)
def test_a_run_distils_and_quantizes_what_was_taught(
    home, settings, plainly, model, tmp_path, name
):
    spec = {"name": name, **DISTILLERS[name]}
    if name == "on_policy":
        spec["student"] = str(model)
    wanted = {key: settings[key] for key in ("name", "seed", "model", "data", "tune")}
    wanted["optimise"] = {"quantizer": {"name": "gguf", "type": "q8_0"}, "distil": spec}
    path = tmp_path / "lifecycle.yaml"
    path.write_text(yaml.safe_dump(wanted))
    done = plainly(configfile.read(path, []))
    assert done["status"] == "COMPLETED"
    folder = artifact(home, done, "optimise")
    student = load_model(folder / "student")
    width = 32 if name == "on_policy" else 16
    assert student.config.hidden_size == width
    metrics = json.loads((folder / "report.json").read_text())
    assert metrics["teacher_kl_after"] >= 0 and metrics["steps"] == 2
    assert metrics["parameters"] == student.num_parameters()
    again = plainly(configfile.read(path, []))
    assert again["artifacts"] == done["artifacts"]


def test_another_shape_of_student_is_another_result(lifecycle, home, plainly):
    made = []
    for layers in (1, 2):
        spec = {"name": "logit", "student": {**TINY, "layers": layers}, **STEPS}
        section = {"quantizer": {"name": "gguf", "type": "q8_0"}, "distil": spec}
        done = plainly(lifecycle(only=("data",), optimise=section))
        made.append(load_model(artifact(home, done, "optimise") / "student").config)
    assert [one.num_hidden_layers for one in made] == [1, 2]


def test_a_student_that_cannot_be_is_refused_before_anything_starts(lifecycle, home):
    def problems(**spec):
        section = {"quantizer": {"name": "gguf", "type": "q8_0"}, "distil": spec}
        found = preflight.plan(lifecycle(only=("data",), optimise=section), open_store())
        return "\n".join(map(str, found.problems))

    assert "optimise.distil.student: on_policy goes on from a" in problems(name="on_policy")
    assert "must divide" in problems(name="logit", student={"heads": 3, "hidden_size": 16})
    assert "no option 'student'" in problems(name="on_policy", student=TINY)
    assert "optimise.distil.student: No model folder" in problems(name="logit", student="/nowhere")
    assert problems(name="logit", student=TINY) == ""
