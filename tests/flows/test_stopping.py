"""Stopped, failed and interrupted stages leave a run that can be taken up again."""

import pytest

from tunesmith.store import open_store, queries
from tunesmith_flows import desk as desks
from tunesmith_flows import journey
from tunesmith_flows.lifecycle import STAGES


def test_a_stop_in_the_middle_of_training_is_resumed_to_the_same_model(
    home, lifecycle, plainly, tmp_path, monkeypatch
):
    config = lifecycle(only=("data", "tune"))
    desk = journey.new_desk(config, None)
    told = desks.Curve.__call__

    def stop_after_one_step(self, point):
        told(self, point)
        if point.get("step") == 1 and "loss" in point:
            desk.stop.set()

    monkeypatch.setattr(desks.Curve, "__call__", stop_after_one_step)
    with desks.seated(desk):
        stopped = plainly(config, run_id=desk.run_id)
    monkeypatch.undo()
    monkeypatch.setenv("TUNESMITH_HOME", str(home))
    assert stopped["status"] == "STOPPED" and list(stopped["artifacts"]) == ["prepare"]
    assert list((home / "work").iterdir()), "the checkpoint stays"
    done = plainly(config, run_id=desk.run_id)
    assert done["status"] == "COMPLETED"

    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "elsewhere"))
    assert plainly(config)["artifacts"] == done["artifacts"]


def test_an_error_ends_the_run_as_failed_with_its_message(lifecycle, plainly, tmp_path):
    config = lifecycle(only=("data", "respond"), respond={"tasks": ["summarisation"]})
    with pytest.raises(Exception, match=r"respond\.tasks asks for summarisation"):
        plainly(config)
    run = queries.latest_run(open_store())
    assert run.status == "FAILED" and "summarisation" in run.reason
    rows = {row.stage: row for row in queries.stages(open_store(), run.id)}
    assert rows["prepare"].status == "COMPLETED" and rows["respond"].status == "FAILED"


def test_plugins_hear_of_every_stage_in_order(lifecycle):
    from tunesmith import hookimpl, plugins

    heard = []

    class Listener:
        @hookimpl
        def stage_started(self, stage):
            heard.append(("started", stage))

        @hookimpl
        def stage_finished(self, stage, cached):
            heard.append(("finished", stage, cached))

        @hookimpl
        def run_finished(self, run, error):
            heard.append(("run", error))

    manager = plugins.host().manager
    manager.register(listener := Listener(), name="listener")
    try:
        for _ in range(2):
            with journey.begun(lifecycle(only=("data",))) as trip:
                STAGES["prepare"].fn(trip.run_id, trip.made)
    finally:
        manager.unregister(listener)
    worked = [("started", "prepare"), ("finished", "prepare", False), ("run", None)]
    assert heard == [*worked, ("finished", "prepare", True), ("run", None)]
