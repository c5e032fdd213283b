"""The whole life of a model, in the order it is lived."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tunesmith_flows import journey
from tunesmith_flows.align import align
from tunesmith_flows.collect import collect
from tunesmith_flows.evaluate import evaluate
from tunesmith_flows.optimise import optimise
from tunesmith_flows.prepare import prepare
from tunesmith_flows.release import release
from tunesmith_flows.respond import respond
from tunesmith_flows.reward import reward
from tunesmith_flows.tune import tune

STAGES = {
    "prepare": prepare,  # sources, filters, splits, data card
    "tune": tune,  # teach the task with an adapter
    "respond": respond,  # several answers per prompt, and which are compared
    "collect": collect,  # what people, or simulated annotators, prefer
    "reward": reward,  # learn to score as they do; gated
    "align": align,  # train towards the reward, or the preferences themselves
    "optimise": optimise,  # fewer bits
    "evaluate": evaluate,  # every model on held-out items; gates
    "release": release,  # register, try, deploy, point the alias
}


@flow(name="lifecycle", persist_result=False, result_serializer="json", log_prints=False)
def lifecycle(
    config: dict[str, Any] | str, until: str | None = None, run_id: str | None = None
) -> dict[str, Any]:
    """Take a model from data to release, as far as the config says.

    ``config`` is a configuration or the path of its YAML file. A run that waits for people ends
    here as WAITING and holds no process; given its ``run_id`` it goes on where it stood.
    """
    with journey.begun(config, until, run_id) as trip:
        for stage in trip.stages:
            trip.made[stage] = STAGES[stage](trip.run_id, trip.made)
    return trip.report()
