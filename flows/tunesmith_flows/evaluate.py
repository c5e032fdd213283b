"""Evaluate every model of the run on held-out items, and let the gates judge the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from tunesmith import Evaluator, Gate, Outcome, plugins
from tunesmith.evidence.measurements import (
    Evidence,
    Measurement,
    Verdict,
    write_json_lines,
)
from tunesmith.promises import listed, returned
from tunesmith_flows import exams, staging
from tunesmith_flows.bench import Bench, write_json
from tunesmith_flows.contestants import contestants, footprint, parents
from tunesmith_flows.tasks import stage_task


@stage_task(name="evaluate")
def evaluate(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the evaluation."""
    return staging.staged("evaluate", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Write the answers, the measurements made from them, and the gates' verdicts."""
    evidence, timings = collect(bench)
    measurements = measure(bench, evidence)
    verdicts = judge(bench, measurements)
    write_json_lines(bench.out / "answers.jsonl", evidence.answers)
    write_json_lines(bench.out / "duels.jsonl", evidence.duels)
    write_json(bench.out / "footprints.json", [asdict(one) for one in evidence.footprints])
    write_json(bench.out / "measurements.json", [asdict(one) for one in measurements])
    write_json(bench.out / "verdicts.json", [asdict(one) for one in verdicts])
    write_json(bench.out / "setting.json", _setting(bench, evidence))
    return Outcome(metrics=_headline(measurements, verdicts), timings=timings)


def collect(bench: Bench) -> tuple[Evidence, dict[str, float]]:
    """Let every model answer; return the evidence, and tokens per second by model."""
    section, contest = bench.config.evaluate, exams.contest(bench)
    papers = exams.papers(bench, section.tasks, section.sampler, "test", section.items)
    answers, stories, prints, timings = [], {}, [], {}
    models = contestants(bench)
    for model in models:
        with model.speaks() as voice:
            given = [answer for paper in papers for answer in paper.sit(bench, model.name, voice)]
            if contest and model.name in contest.models:
                stories[model.name] = contest.write(bench, model.name, voice)
        answers += given
        prints.append(footprint(model, given))
        timings[f"tokens_per_second/{model.name}"] = voice.speed()
    duels = contest.duels(stories) if contest else []
    evidence = Evidence(
        answers=answers,
        duels=duels,
        footprints=prints,
        parents=parents(models),
        seed=bench.seed,
        judged_by=contest.judged_by if contest and duels else "",
    )
    return evidence, timings


def measure(bench: Bench, evidence: Evidence) -> list[Measurement]:
    """Return what the evaluators of the config make of the evidence."""
    evaluators = [plugins.build(Evaluator, spec) for spec in bench.config.evaluate.evaluators]
    return [
        found
        for one in evaluators
        for found in listed(one, "measure", one.measure(evidence), Measurement)
    ]


def judge(bench: Bench, measurements: Sequence[Measurement]) -> list[Verdict]:
    """Return what the gates of the config say; the release stage obeys them."""
    gates = [plugins.build(Gate, spec) for spec in bench.config.evaluate.gates]
    return [returned(gate, "decide", gate.decide(measurements), Verdict) for gate in gates]


def _setting(bench: Bench, evidence: Evidence) -> dict[str, object]:
    return {
        "parents": evidence.parents,
        "seed": evidence.seed,
        "judged_by": evidence.judged_by,
        "items": bench.config.evaluate.items,
    }


def _headline(
    measurements: Sequence[Measurement], verdicts: Sequence[Verdict]
) -> dict[str, object]:
    return {
        "passed": all(verdict.passed for verdict in verdicts),
        "gates": {verdict.gate: verdict.passed for verdict in verdicts},
        "measurements": {m.key: m.value for m in measurements if m.finite},
    }
