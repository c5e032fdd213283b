"""Lifecycles without people: a rule rewards, or a language model judges, and everybody is told."""

import json

import pytest
import yaml
from openai_servers import KEY_VARIABLE, chat, material, models, told_server
from rich.console import Console
from tests.flows.conftest import artifact

from tunesmith import preflight, store
from tunesmith.config import load_config
from tunesmith.report import summary
from tunesmith.report.gather import gather
from tunesmith.report.render import render
from tunesmith_flows import desk as desks
from tunesmith_flows import summary as summaries

LORA = {"name": "lora", "r": 2}
ASKING = {
    "steps": 2, "prompts_per_step": 2, "num_generations": 2, "max_completion_length": 8,
    "dtype": "float32",
}  # fmt: skip


@pytest.fixture
def rule_only(settings):
    """Return a lifecycle in which nobody is asked: maths prompts, a rule, GRPO."""
    kept = {key: settings[key] for key in ("name", "seed", "model", "data", "tune", "evaluate")}
    evaluate = {**kept["evaluate"], "win_rate": None}
    return {
        **kept,
        "evaluate": evaluate,
        "reward": {"model": "verifiable"},
        "align": {"method": {"name": "grpo", **ASKING}, "adapter": LORA, "prompts": 4,
                  "tasks": ["maths_reasoning"]},
    }  # fmt: skip


def test_one_file_aligns_with_a_verifiable_reward_and_no_labels(
    home, rule_only, tmp_path, plainly, monkeypatch
):
    path = tmp_path / "lifecycle.yaml"
    path.write_text(yaml.safe_dump(rule_only), encoding="utf-8")
    config = load_config(path)
    planned = preflight.plan(config, store.open())
    assert not planned.problems
    assert [one.stage for one in planned.stages] == [
        "prepare", "tune", "reward", "align", "evaluate"
    ]  # fmt: skip
    done = plainly(config)
    assert done["status"] == "COMPLETED"
    card = json.loads((artifact(home, done, "reward") / "card.json").read_text())
    assert card["kind"] == "rule" and card["solved"] == 1.0 and card["verdict"]["passed"]
    assert card["rows"] == card["solved_rows"] == 16, "of the task's prompts alone"
    manifest = json.loads((artifact(home, done, "align") / "manifest.json").read_text())
    assert manifest["metrics"]["steps"] == 2 and 0 <= manifest["metrics"]["reward_after"] <= 1
    lines = (artifact(home, done, "align") / "samples.jsonl").read_text().splitlines()
    assert all(json.loads(line)["reward"] in (0.0, 1.0) for line in lines)
    page = render(gather(store.open(), done["run"]))
    assert "A rule gives the reward" in page and "No person was asked" not in page
    found = summary(store.open(), done["run"])
    assert any("The reward is a rule" in line for line in found["headlines"])


def test_a_rule_that_does_not_fit_its_rows_trains_nobody(rule_only, plainly):
    wrong = {**rule_only, "reward": {"model": {"name": "verifiable", "task": "code_generation"}}}
    from tunesmith.config import Lifecycle

    found = preflight.plan(Lifecycle.model_validate(wrong), store.open()).problems
    assert any("code_generation needs" in str(one) and "sum-" in str(one) for one in found)


def test_a_reward_that_learns_still_needs_labels(rule_only, home):
    from tunesmith.config import Lifecycle

    wrong = {**rule_only, "reward": {"model": "bradley_terry"}}
    found = preflight.plan(Lifecycle.model_validate(wrong), store.open()).problems
    assert any("it needs the stage collect" in str(one) for one in found)


# A language model judges


def prefers_the_longer_answer(_method, path, body, headers):
    if headers.get("Authorization") != "Bearer sk-judge-1234":
        return 401, {}, b'{"error": {"message": "no key"}}'
    if path.endswith("/models"):
        return models("judge")
    first, second = (material(body, f"answer_{word}") for word in "AB")
    return chat("A" if len(first) > len(second) else "B" if len(second) > len(first) else "C")


@pytest.fixture
def judging(home, lifecycle, monkeypatch):
    """Return a function that makes a lifecycle up to the labels, and the requests so far."""
    monkeypatch.setenv(KEY_VARIABLE, "sk-judge-1234")
    with told_server(prefers_the_longer_answer) as (url, seen):
        source = {"name": "llm_judge", "model": "judge", "base_url": url,
                  "api_key_env": KEY_VARIABLE}  # fmt: skip

        def make(**changes):
            only = ("data", "tune", "respond")
            return lifecycle(only=only, collect={"source": {**source, **changes}})

        yield make, seen


def test_labels_of_a_model_are_told_apart_from_people_s_everywhere(home, judging, plainly, capsys):
    make, seen = judging
    done = plainly(make())
    assert done["status"] == "COMPLETED"
    collected = artifact(home, done, "collect")
    labels = [json.loads(line) for line in (collected / "labels.jsonl").read_text().splitlines()]
    assert {one["source"] for one in labels} == {"llm_judge"}
    told = json.loads((collected / "summary.json").read_text())
    assert told["by_model"] and not told["simulated"]
    assert told["quality"]["position_bias"] == 0 and told["quality"]["unreadable"] == 0
    assert told["quality"]["calls"] == 2 * len(labels)

    facts = gather(store.open(), done["run"])
    assert facts.by_model and not facts.simulated and facts.feedback.by_model
    page = render(gather(store.open(), done["run"]))
    assert "Feedback is by a language model" in page and "Feedback is simulated" not in page
    assert "osition bias" in page
    console = Console(width=200, force_terminal=False)
    summaries.show(console, desks.opened(done["run"]), done)
    assert "BY A MODEL: a language model judged, no person was asked" in capsys.readouterr().out

    stored = [path for path in home.rglob("*") if path.is_file()]
    assert stored and not any(b"sk-judge-1234" in path.read_bytes() for path in stored)
    before = len(seen)
    assert plainly(make())["status"] == "COMPLETED"
    assert len(seen) == before, "a cached stage asks nobody, not even whether the server is there"


def test_a_run_that_will_be_judged_by_a_model_says_so_beforehand(judging):
    from tunesmith.store import runs

    make, _ = judging
    opened = store.open()
    run = runs.create(opened, "small", make().model_dump(mode="json"), details={})
    assert gather(opened, run).by_model


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, "nobody answers there"),
        ({"api_key_env": "TUNESMITH_NO_SUCH_KEY"}, "TUNESMITH_NO_SUCH_KEY"),
        ({"api_key_env": None}, "It wants a key"),
        ({"model": "jugde"}, "Did you mean 'judge'?"),
    ],
)
def test_a_plan_says_why_a_judge_cannot_be_asked(judging, changes, said):
    make, _ = judging
    (problem,) = preflight.plan(make(**changes), store.open()).problems
    assert problem.place == "collect.source" and said in str(problem)


def test_a_server_of_a_model_that_is_still_to_be_made_is_a_warning(home, lifecycle, settings):
    vllm = {"name": "vllm", "base_url": "http://127.0.0.1:9/v1"}
    respond = {**settings["respond"], "engine": vllm}
    made = preflight.plan(lifecycle(only=("data", "tune"), respond=respond), store.open())
    assert not made.problems and any("nobody answers" in str(one) for one in made.warnings)
    there = preflight.plan(lifecycle(only=("data",), respond=respond), store.open())
    assert any("nobody answers there" in str(one) for one in there.problems)


def test_a_judge_inside_another_technique_is_asked_too(home, lifecycle, settings, tmp_path):
    judge = {"name": "judge", "model": "x", "base_url": "http://127.0.0.1:9/v1"}
    sampler = {"name": "best_of_n", "reward": str(tmp_path), "reward_model": judge}
    respond = {**settings["respond"], "sampler": sampler}
    found = preflight.plan(lifecycle(only=("data", "tune"), respond=respond), store.open()).problems
    assert any(
        one.place == "respond.sampler.reward_model" and "nobody answers" in str(one)
        for one in found
    )


def test_a_ceiling_that_one_judge_cannot_have_is_refused_at_once(judging, lifecycle):
    make, _ = judging
    source = make().collect.source
    config = lifecycle(
        only=("data", "tune", "respond"), collect={"source": source},
        reward={"gate": {"min_of_ceiling": 0.9}},
    )  # fmt: skip
    found = preflight.plan(config, store.open()).problems
    assert any("gives each pair one label" in str(one) for one in found)
