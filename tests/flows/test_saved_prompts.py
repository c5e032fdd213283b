"""A run that asks with a saved prompt: which version it was is decided once and told everywhere."""

import json

from tests.flows.conftest import artifact

from tunesmith import store as stores
from tunesmith.report import summary, write_report
from tunesmith.saved_prompts import content_of, used
from tunesmith.store import queries, runs, saved_prompts
from tunesmith_flows import journey


def save(store, system, alias="production"):
    content = content_of({"system": system, "template": "Sum: {question}"})
    found = saved_prompts.save(store, "sums", content, author="ann")
    saved_prompts.set_alias(store, "sums", alias, found.version, actor="ann")


def asked(lifecycle):
    style = {"name": "saved", "prompt": "sums@production"}
    task = {"name": "maths_reasoning", "max_new_tokens": 4, "style": style}
    exam = {"tasks": [task], "items": 2, "evaluators": ["task_scores"]}
    return lifecycle(only=["data"], evaluate=exam)


def test_evidence_report_and_history_name_the_version(home, lifecycle, plainly):
    store = stores.open()
    save(store, "Be brief.")
    folder = artifact(home, plainly(asked(lifecycle)), "evaluate")
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert {one["style"] for one in answers} == {"saved(prompt=sums@1)"}
    run = queries.run(store, queries.latest_run(store).id)
    assert used(run.config) == [("maths_reasoning", "sums@1")]
    assert summary(store, run.id)["prompts"] == [{"task": "maths_reasoning", "prompt": "sums@1"}]
    page = write_report(store, run.id, home / "report.html").read_text()
    assert "asked with the saved prompt <code>sums@1</code>" in page


def test_a_run_that_is_resumed_asks_what_it_began_with(home, lifecycle):
    store = stores.open()
    save(store, "one")
    desk = journey.new_desk(asked(lifecycle), None)
    save(store, "two")
    runs.set_status(store, desk.run_id, "STOPPED", reason="tried")
    again = journey.old_desk(desk.run_id)
    style = again.config.evaluate.tasks[0]["style"]
    assert (style["prompt"], style["system"]) == ("sums@1", "one")
    fresh = journey.new_desk(asked(lifecycle), None)
    assert fresh.config.evaluate.tasks[0]["style"]["prompt"] == "sums@2"
