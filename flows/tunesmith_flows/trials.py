"""Try combinations against their parents on the same items and engine, and choose one.

What is asked comes from the split `validation`, so that the exams of `evaluate` are as new to the
chosen model as to any other.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tunesmith import Engine, Evaluator, Outcome, plugins
from tunesmith.config import Choose
from tunesmith.evidence.choosing import Trial, pick
from tunesmith.evidence.measurements import Answer, Evidence, Measurement
from tunesmith.promises import listed
from tunesmith_flows import exams, speeds
from tunesmith_flows.answering import sizes
from tunesmith_flows.bench import Bench, write_json
from tunesmith_flows.combining import STUDENT, Made, engine_for
from tunesmith_flows.contestants import Contestant, contestants, parent_on

FILE = "choice.json"


def choose(bench: Bench, made: list[Made]) -> tuple[Made, Outcome]:
    """Return the combination to keep, and what was found; GateRefused when none is good enough."""
    section = bench.config.optimise.choose
    parent = contestants(bench)[-1]
    engines = [engine_for(one.report) for one in made]
    twins = {one.name: parent_on(bench, parent, one) for one in _by_name(engines)}
    runners = [
        _runner(one, engine, twins[engine.name], parent)
        for one, engine in zip(made, engines, strict=True)
    ]
    models = [*twins.values(), *runners]
    gaps = _compare(bench, section, models)
    found = [_trial(one, runner, gaps) for one, runner in zip(made, runners, strict=True)]
    measured = speeds.measure(bench, models)
    chosen = pick(found, section.target, section.budget, measured)
    write_json(bench.out / FILE, _facts(section, found, chosen))
    outcome = Outcome(metrics={"chosen": chosen.label, "tried": len(found)})
    outcome.timings |= speeds.as_timings(measured)
    return made[found.index(chosen)], outcome


def _by_name(engines: list[Engine]) -> list[Engine]:
    return list({engine.name: engine for engine in engines}.values())


def _runner(made: Made, engine: Engine, twin: Contestant, parent: Contestant) -> Contestant:
    """Return a combination as a contestant; its parent is on the same engine."""
    student = made.folder / STUDENT
    return Contestant(
        made.combination.label,
        made.folder,
        engine,
        made.report["parameters"],
        twin.name,
        student if student.is_dir() else parent.folder,
    )


def _compare(bench: Bench, section: Choose, models: list[Contestant]) -> list[Measurement]:
    """Let every model answer the same items; return the paired differences from the parents."""
    papers = exams.papers(bench, section.tasks, {"name": "greedy"}, "validation", section.items)
    answers: list[Answer] = []
    for model in models:
        with model.speaks() as voice:
            answers += [one for paper in papers for one in paper.sit(bench, model.name, voice)]
    parents = {model.name: model.parent for model in models if model.parent}
    evidence = Evidence(answers=answers, parents=parents, seed=bench.seed)
    scores = plugins.build(Evaluator, "task_scores")
    found = listed(scores, "measure", scores.measure(evidence), Measurement)
    return [one for one in found if one.baseline]


def _trial(made: Made, runner: Contestant, gaps: list[Measurement]) -> Trial:
    weight = sizes(made.folder)["bytes"]
    return Trial(
        label=runner.name,
        engine=runner.engine.name,
        parent=str(runner.parent),
        bytes=weight,
        bits_per_weight=8 * weight / runner.parameters,
        gaps=[one for one in gaps if one.model == runner.name],
        accelerators=made.metrics.get("accelerators", {}),
    )


def _facts(section: Choose, found: list[Trial], chosen: Trial) -> dict[str, Any]:
    """Return what the report draws; speeds are not among it, since an artifact holds no times."""
    trials = [asdict(one) | {"within": one.within(section.budget)} for one in found]
    told = {"target": section.target, "budget": section.budget, "items": section.items}
    return json.loads(json.dumps(told | {"chosen": chosen.label, "trials": trials}))
