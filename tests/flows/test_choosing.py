"""The optimise stage tries combinations on the same items and takes one."""

import json

import pytest
from pydantic import ValidationError
from tests.flows.conftest import artifact, rows

from tunesmith import Score, Task, plugins
from tunesmith.config import load_config
from tunesmith.errors import GateRefused
from tunesmith.plugin_host import Provenance
from tunesmith.preflight import plan
from tunesmith.stagekeys import stage_key
from tunesmith.store import open_store
from tunesmith_flows import speeds

SMALL = {"quantizer": {"name": "gguf", "type": "q4_0"}}
LOOKUP = {"accelerators": [{"name": "speculative_prompt_lookup", "tokens": 4}]}
SUMS = {"name": "maths_reasoning", "max_new_tokens": 8}


class Fickle(Task):
    """Half of all answers are right, and which ones changes with any letter."""

    name = "fickle"
    title = "guessing"
    max_new_tokens: int = 12

    def score(self, row, answer):
        right = sum(map(ord, answer)) % 2 == 0
        return Score(float(right), right, answer)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(speeds, "ROUNDS", 1)
    monkeypatch.setattr(speeds, "NEW", 4)


@pytest.fixture
def fickle(tmp_path):
    """Return a `data` section whose sums are scored by `Fickle`."""
    plugins.host.cache_clear()
    plugins.host().add(Fickle, Provenance("fickle", "test", "0"))
    file = tmp_path / "fickle.jsonl"
    asked = [one | {"task": "fickle"} for one in rows(96) if one["task"] == "maths_reasoning"]
    file.write_text("".join(json.dumps(one) + "\n" for one in asked), encoding="utf-8")
    yield {"sources": [{"name": "jsonl", "path": str(file)}]}
    plugins.host.cache_clear()


def choosing(*alternatives, target="size", budget=0.5, tasks=(SUMS,)):
    choose = {"target": target, "budget": budget, "tasks": list(tasks), "items": 8}
    return {"alternatives": list(alternatives), "choose": choose}


def test_the_smallest_is_kept_and_every_trial_is_told(home, lifecycle, plainly):
    made = lifecycle(only=["data"], optimise=choosing(SMALL, LOOKUP))
    done = plainly(made)
    folder = artifact(home, done, "optimise")
    choice = json.loads((folder / "choice.json").read_text())
    report = json.loads((folder / "report.json").read_text())
    sizes = {one["label"]: one["bytes"] for one in choice["trials"]}
    assert choice["chosen"] == "gguf q4_0"
    assert list(sizes) == ["gguf q8_0", "gguf q4_0", "gguf q8_0 + speculative_prompt_lookup 4"]
    assert sizes["gguf q4_0"] < sizes["gguf q8_0"]
    assert report["combination"]["quantizer"]["type"] == "q4_0"
    assert (folder / "model.gguf").stat().st_size == sizes["gguf q4_0"]
    assert {one["parent"] for one in choice["trials"]} == {"base@llamacpp"}
    assert not any("latency" in key for key in choice)


def test_speeds_are_in_the_ledger_and_the_picture_in_the_report(home, lifecycle, plainly):
    from tunesmith.report import write_report
    from tunesmith.store import queries

    plainly(lifecycle(only=["data"], optimise=choosing(SMALL, target="latency")))
    store = open_store()
    run = queries.latest_run(store).id
    timings = queries.stages(store, run)[-1].timings
    models = ("gguf q8_0", "gguf q4_0", "base@llamacpp")
    assert all(timings[f"{kind}/{one}"] > 0 for one in models for kind in ("latency", "throughput"))
    page = write_report(store, run, home / "report.html").read_text()
    assert 'id="choice"' in page and "Of 2 combinations, 2 within the budget" in page


def test_what_loses_more_than_the_budget_is_refused_with_its_numbers(
    lifecycle, plainly, fickle, sharp
):
    optimise = SMALL | choosing(tasks=["fickle"], budget=0.0)
    with pytest.raises(GateRefused, match=r"budget of 0 points .*gguf q4_0: .*\[.*\] points on"):
        plainly(lifecycle(only=[], model=str(sharp), data=fickle, optimise=optimise))


def test_the_same_choice_gives_the_same_bytes_in_another_home(
    lifecycle, plainly, tmp_path, monkeypatch
):
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / name))
        done = plainly(lifecycle(only=["data"], optimise=choosing(SMALL)))
        found.append(done["artifacts"]["optimise"])
    assert found[0] == found[1]


def test_evaluate_takes_the_engine_and_the_student_of_what_was_chosen(home, lifecycle, plainly):
    small = {"hidden_size": 32, "intermediate_size": 32, "layers": 1}
    taught = {"distil": {"name": "logit", "student": small, "steps": 2}} | SMALL
    exam = {"tasks": [SUMS], "items": 2, "evaluators": ["task_scores", "speed_and_size"]}
    made = lifecycle(only=["data"], optimise=choosing(taught), evaluate=exam)
    done = plainly(made)
    folder = artifact(home, done, "optimise")
    assert (folder / "student/model.safetensors").is_file()
    prints = json.loads((artifact(home, done, "evaluate") / "footprints.json").read_text())
    assert [one["model"] for one in prints] == ["base", "base@llamacpp", "quantized"]
    assert prints[2]["bytes"] == (folder / "model.gguf").stat().st_size


def test_an_alternative_is_part_of_the_key(lifecycle):
    def key(*alternatives):
        made = lifecycle(only=["data"], optimise=choosing(*alternatives))
        return stage_key(made, "optimise", {"prepare": "dataset-1"})

    assert key(SMALL) != key(LOOKUP)
    assert key(SMALL) == key({"quantizer": {"type": "q4_0", "name": "gguf"}})


def test_killed_while_accelerators_are_proved_the_combination_is_made_again(
    lifecycle, tmp_path, monkeypatch
):
    """A quantizer leaves a report of its own, which is not the stage's."""
    from tunesmith_flows import combining, optimise, proving
    from tunesmith_flows.bench import Bench

    def killed(*_):
        raise KeyboardInterrupt

    config = lifecycle(only=["data"], optimise={"quantizer": "ctranslate2"})
    out, work = tmp_path / "made", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(proving, "proven", killed)
        with pytest.raises(KeyboardInterrupt):
            optimise.work(Bench("optimise", config, out, work))
    assert (work / "optimise" / combining.REPORT).is_file()
    optimise.work(Bench("optimise", config, out, work))
    assert json.loads((out / "report.json").read_text())["label"] == "ctranslate2"


def test_two_students_are_two_combinations_and_a_default_spelled_out_is_none(lifecycle):
    def student(layers):
        return {"distil": {"name": "logit", "student": {"layers": layers}}}

    two = lifecycle(only=["data"], optimise=choosing(student(1), student(2)))
    assert len({one.label for one in two.optimise.combinations.values()}) == 3
    told = problems(lifecycle(only=["data"], optimise=choosing({"quantizer": "gguf"})))
    assert "the combination of optimise again" in told


def problems(config):
    return "\n".join(map(str, plan(config, open_store()).problems))


def test_a_choice_is_checked_like_an_exam(lifecycle):
    twice = choosing(SMALL, tasks=[SUMS, SUMS])
    assert "is there twice" in problems(lifecycle(only=["data"], optimise=twice))
    nobody = choosing(SMALL, tasks=["machine_translation"])
    assert "no row of the split validation belongs to machine_translation" in problems(
        lifecycle(only=["data"], optimise=nobody)
    )
    vote = {"name": "self_consistency", "samples": 2, "sampler": {"name": "min_p"}}
    voting = choosing({"quantizer": "ctranslate2"}, tasks=[SUMS | {"style": vote}])
    assert "ctranslate2 cannot sample with min_p" in problems(
        lifecycle(only=["data"], optimise=voting)
    )


def test_a_student_without_rows_is_refused(lifecycle):
    taught = {"distil": {"name": "logit", "student": {"layers": 1}}}
    assert "a student learns from the prepared rows" in problems(
        lifecycle(only=[], optimise=taught)
    )


def test_a_parent_with_other_options_is_not_on_the_same_engine(home, lifecycle, plainly):
    exam = {
        "tasks": [SUMS], "items": 2, "evaluators": ["task_scores", "speed_and_size"],
        "engine": {"name": "llamacpp", "parallel": 2},
    }  # fmt: skip
    done = plainly(lifecycle(only=["data"], optimise={}, evaluate=exam))
    prints = json.loads((artifact(home, done, "evaluate") / "footprints.json").read_text())
    assert [one["model"] for one in prints] == ["base", "base@llamacpp", "quantized"]


def test_alternatives_without_a_way_to_choose_are_refused(lifecycle):
    with pytest.raises(ValidationError, match="say how to `choose`"):
        lifecycle(only=["data"], optimise={"alternatives": [SMALL]})


def test_a_combination_that_is_there_twice_is_refused(lifecycle):
    with pytest.raises(ValidationError, match="'gguf q4_0' is there twice"):
        lifecycle(only=["data"], optimise=choosing(SMALL, SMALL))


def test_preflight_checks_every_alternative(lifecycle):
    wrong = {"quantizer": {"name": "gguf", "type": "q4_k"}}
    misfit = {"quantizer": {"name": "torchao_int8"}, "accelerators": ["prefix_cache"]}
    student = {"distil": {"name": "logit", "student": "/no/such/model"}, **SMALL}
    found = plan(lifecycle(only=["data"], optimise=choosing(wrong, misfit, student)), open_store())
    told = {problem.place: problem.text for problem in found.problems}
    assert "q4_k_m" in told["optimise.alternatives.0.quantizer"]
    assert "is for the engine llamacpp" in told["optimise.alternatives.1.accelerators.0"]
    assert "/no/such/model" in told["optimise.alternatives.2.distil.student"]


def test_a_choice_needs_data(lifecycle):
    found = plan(lifecycle(only=[], optimise=choosing(SMALL)), open_store())
    assert any("no `data` section" in problem.text for problem in found.problems)


def test_a_student_s_folder_starts_at_the_file(tmp_path):
    file = tmp_path / "lifecycle.yaml"
    file.write_text(
        "name: a\nmodel: builtin:nano\noptimise:\n  alternatives:\n"
        "    - distil: {name: logit, student: ./small}\n"
        "  choose: {tasks: [maths_reasoning]}\n"
    )
    (only,) = load_config(file).optimise.alternatives
    assert only.distil["student"] == str(tmp_path / "small")


def test_an_unknown_key_of_an_alternative_names_the_right_one(tmp_path):
    from tunesmith.errors import ConfigError

    file = tmp_path / "lifecycle.yaml"
    file.write_text("name: a\noptimise:\n  alternatives:\n    - quantiser: gguf\n")
    with pytest.raises(ConfigError, match=r"alternatives\.0 has no key 'quantiser'.*quantizer"):
        load_config(file)


def test_the_shape_of_a_student_is_part_of_the_key(lifecycle):
    def key(hidden):
        shape = {"hidden_size": hidden, "intermediate_size": 32, "layers": 1}
        taught = {"distil": {"name": "logit", "student": shape}}
        made = lifecycle(only=["data"], optimise=taught)
        return stage_key(made, "optimise", {"prepare": "dataset-1"})

    assert key(32) != key(64)
