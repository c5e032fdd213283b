"""From the store to the facts of one run. What cannot be read is told, never guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tunesmith import plugins, stages
from tunesmith.errors import ArtifactError
from tunesmith.report import evidence, files, questions
from tunesmith.report.choice import read_choice
from tunesmith.report.facts import (
    DataFacts,
    FeedbackFacts,
    LineageFacts,
    Node,
    RunFacts,
    StageFacts,
)
from tunesmith.report.reward import read_reward
from tunesmith.saved_prompts import used
from tunesmith.splits import SPLITS
from tunesmith.store import Store, queries
from tunesmith.store.queries import ArtifactRow, StageRow
from tunesmith.techniques import FeedbackSource

T = TypeVar("T")
HOW_IT_WENT = ("learning_rate", "tokens_per_second", "seconds", "epoch")
"""Curves that say how the work went, not how the model did."""
READS_BASE = ("tune", "respond", "align", "optimise")
"""The first of these stages that a run has begins with the model of the config."""


def gather(store: Store, run_id: str) -> RunFacts:
    """Return everything a report says of a run; StoreError when there is no such run."""
    run = queries.run(store, run_id)
    artifacts = {one.id: one for one in queries.artifacts_of(store, run_id)}
    told = _stages(store, run_id, run.config, run.details.get("until"), artifacts)
    made = {stage.name: stage.artifact for stage in told if stage.artifact}
    problems: list[str] = []

    def of(stage: str, read: Callable[[Store, str], T]) -> T | None:
        """Read what a stage left behind, if it got that far."""
        if stage not in made:
            return None
        try:
            return read(store, made[stage])
        except (ArtifactError, KeyError, TypeError, ValueError) as error:
            problems.append(f"The result of {stage} ({made[stage]}) cannot be shown: {error}")
            return None

    feedback = of("collect", _feedback)
    speeds = _speeds(told)
    shown = of("evaluate", questions.from_evaluation) or []
    shown = shown + questions.from_samples(store, told, run_id, {one.task for one in shown})
    return RunFacts(
        id=run.id,
        name=run.name,
        status=run.status,
        reason=run.reason,
        created_at=run.created_at,
        finished_at=run.finished_at,
        seconds=run.seconds,
        seed=run.config.get("seed"),
        model=str(run.config.get("model", "")),
        host=run.host,
        simulated=feedback.simulated if feedback else _source_is("simulated", run.config),
        by_model=feedback.by_model if feedback else _source_is("by_model", run.config),
        stages=told,
        data=of("prepare", _data),
        feedback=feedback,
        reward=of("reward", read_reward),
        evidence=of("evaluate", lambda st, one: evidence.read_evidence(st, one, speeds)),
        choice=of("optimise", lambda st, one: read_choice(st, one, _timings(told, "optimise"))),
        questions=shown,
        lineage=_lineage(told, artifacts, str(run.config.get("model", ""))),
        config=run.config,
        versions=_versions(store, run.details, made),
        environment=run.details.get("environment") or {},
        release=run.details.get("release") or {},
        campaigns=[one for one in queries.campaigns(store) if one.run_id == run.id],
        prompts=used(run.config),
        problems=problems,
    )


def _stages(
    store: Store,
    run_id: str,
    config: Mapping[str, Any],
    until: str | None,
    artifacts: Mapping[str, ArtifactRow],
) -> list[StageFacts]:
    """Return the stages that were tried, in their order, then those that are still to come."""
    rows = {row.stage: row for row in queries.stages(store, run_id)}
    found = []
    for stage in stages.STAGES:
        if stage.name in rows:
            found.append(_stage(store, run_id, rows.pop(stage.name), artifacts))
        elif config.get(stage.section) is not None and until not in [one.name for one in found]:
            found.append(StageFacts(stage.name, "PENDING"))
    return found + [_stage(store, run_id, row, artifacts) for row in rows.values()]


def _stage(
    store: Store, run_id: str, row: StageRow, artifacts: Mapping[str, ArtifactRow]
) -> StageFacts:
    maker, work = _maker(store, row) if row.cached else (run_id, row)
    result = artifacts.get(row.artifact_id or "")
    return StageFacts(
        name=row.stage,
        status=row.status,
        cached=row.cached,
        seconds=None if row.cached else row.seconds,
        artifact=row.artifact_id,
        reason=row.reason,
        attempts=row.attempts,
        started_at=row.started_at,
        finished_at=row.finished_at,
        timings=work.timings if work else {},
        maker=maker if maker != run_id else None,
        metrics=result.metrics if result else {},
        size=result.size if result else 0,
        curves=_curves(store, maker, row.stage) if maker else {},
    )


def _maker(store: Store, row: StageRow) -> tuple[str | None, StageRow | None]:
    """Return the run that worked on what another one took from the ledger, with its stage."""
    if row.artifact_id is None:
        return None, None
    for run_id in queries.lineage(store, row.artifact_id).runs.get(row.artifact_id, []):
        for one in queries.stages(store, run_id):
            if one.artifact_id == row.artifact_id and one.status == "COMPLETED" and not one.cached:
                return run_id, one
    return None, None


def _curves(store: Store, run_id: str, stage: str) -> dict[str, list[tuple[float, float]]]:
    found = queries.curves(store, run_id, stage)
    return {
        name: [(float(step), value) for step, value in points]
        for name, points in found.items()
        if name not in HOW_IT_WENT
    }


def _speeds(told: list[StageFacts]) -> dict[str, float]:
    """Return tokens per second by model, as the evaluation measured them in passing."""
    timings = _timings(told, "evaluate")
    mark = "tokens_per_second/"
    return {name.removeprefix(mark): v for name, v in timings.items() if name.startswith(mark)}


def _timings(told: list[StageFacts], name: str) -> Mapping[str, float]:
    return next((stage.timings for stage in told if stage.name == name), {})


def _data(store: Store, artifact_id: str) -> DataFacts:
    card = files.read_json(store, artifact_id, "card.json")
    names = ("tasks", "types", "groups", "lengths", "dropped", "examples")
    rows = {split: card["rows"][split] for split in SPLITS if split in card["rows"]}
    return DataFacts(rows=rows, **{name: card.get(name) or {} for name in names})


def _feedback(store: Store, artifact_id: str) -> FeedbackFacts:
    told = files.read_json(store, artifact_id, "summary.json")
    labels = files.read_lines(store, artifact_id, "labels.jsonl")
    verdicts = Counter(str(label["verdict"]) for label in labels)
    return FeedbackFacts(
        source=told["source"],
        simulated=told["simulated"],
        annotators=told["annotators"],
        agreement=told["agreement"],
        labels=verdicts.total(),
        pairs=sum(1 for _ in files.read_lines(store, artifact_id, "pairs.jsonl")),
        verdicts=dict(verdicts.most_common()),
        # Runs from before there were such judges do not say.
        by_model=bool(told.get("by_model")),
        quality=told.get("quality") or {},
    )


def _source_is(mark: str, config: Mapping[str, Any]) -> bool:
    """Say whether the source of feedback that a config asks for has a mark: no person judges."""
    source = (config.get("collect") or {}).get("source") or {}
    name = source if isinstance(source, str) else source.get("name")
    known = plugins.host().available(FeedbackSource)
    return name in known and bool(getattr(known[name], mark))


def _lineage(
    told: list[StageFacts], artifacts: Mapping[str, ArtifactRow], model: str
) -> LineageFacts:
    """Return the artifacts in stage order; the model of the config stands before them."""
    nodes = [Node(model, "start", "base")] if model and model != "scratch" else []
    starts = len(nodes)
    made = [(stage.name, artifacts[stage.artifact or ""]) for stage in told if stage.artifact]
    nodes += [Node(one.id, one.kind, stage, one.size) for stage, one in made]
    places = {node.id: place for place, node in enumerate(nodes)}
    edges = {
        (places[given], places[one.id])
        for _, one in made
        for given in one.inputs
        if given in places
    }
    first = next((place for place, node in enumerate(nodes) if node.stage in READS_BASE), None)
    if starts and first:
        edges.add((0, first))
    return LineageFacts(nodes, sorted(edges))


def _versions(store: Store, details: Mapping[str, Any], made: Mapping[str, str]) -> dict[str, str]:
    """Return the versions the run noted, and those that its artifacts were made with."""
    found: dict[str, str] = {}
    for artifact_id in made.values():
        try:
            versions = files.read_manifest(store, artifact_id)["versions"]
        except ArtifactError:
            continue  # the section of that stage says that it is gone
        found |= {str(name): str(version) for name, version in versions.items()}
    return found | {str(k): str(v) for k, v in (details.get("versions") or {}).items()}
