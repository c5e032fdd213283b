"""Exams whose style asks a model several times, as `evaluate` sits them."""

import json

from tests.flows.conftest import artifact

from tunesmith.stagekeys import stage_key


def exams(*styles):
    tasks = [{"name": "maths_reasoning", "max_new_tokens": 6, "style": one} for one in styles]
    return {"tasks": tasks, "items": 3, "evaluators": ["task_scores"]}


VOTE = {"name": "self_consistency", "samples": 3, "style": "zero_shot"}
STEP = {"name": "step_back", "rule_tokens": 5}
SHOTS = {"name": "few_shot", "shots": 2, "selection": "most_similar"}


def test_styles_with_options_are_asked_scored_and_told_apart(home, lifecycle, plainly):
    made = lifecycle(only=["data"], evaluate=exams(VOTE, STEP, SHOTS, "zero_shot"))
    folder = artifact(home, plainly(made), "evaluate")
    lines = (folder / "answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    by_style = {one["style"]: one for one in answers}
    assert list(by_style) == [
        "self_consistency(samples=3, style=zero_shot)",
        "step_back(rule_tokens=5)",
        "few_shot(shots=2, selection=most_similar)",
        "zero_shot",
    ]
    assert len(answers) == 12
    vote, step, *_ = by_style.values()
    assert sum(vote["details"]["votes"].values()) <= 3 and vote["tokens"] > 6
    assert set(step["details"]) == {"rule"}
    measured = json.loads((folder / "measurements.json").read_text())
    names = {one["name"] for one in measured}
    assert "maths_reasoning:self_consistency(samples=3, style=zero_shot)" in names

    from tunesmith.report import write_report
    from tunesmith.store import open_store, queries

    store = open_store()
    page = write_report(store, queries.latest_run(store).id, home / "report.html").read_text()
    assert "self consistency(samples=3, style=zero shot)" in page


def test_the_same_exam_gives_the_same_bytes_in_another_home(
    lifecycle, plainly, tmp_path, monkeypatch
):
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / name))
        done = plainly(lifecycle(only=["data"], evaluate=exams(VOTE)))
        found.append(done["artifacts"]["evaluate"])
    assert found[0] == found[1]


def test_an_option_of_a_style_is_part_of_the_stage_s_key(lifecycle):
    def key(style):
        return stage_key(lifecycle(only=["data"], evaluate=exams(style)), "evaluate", {})

    inside = VOTE | {"sampler": {"name": "temperature", "temperature": 0.9}}
    assert len({key(VOTE), key(VOTE | {"samples": 4}), key(inside), key(STEP)}) == 4
    assert key(VOTE) == key(dict(VOTE))
