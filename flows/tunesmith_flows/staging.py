"""How every stage runs: looked up in the ledger, else worked out once and stored by content."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith import Outcome, Waiting, plugins, settings, stages
from tunesmith.blame import blamed
from tunesmith.errors import Stopped
from tunesmith.stagekeys import ingredients, stage_key
from tunesmith.store import Artifact, ledger, runs
from tunesmith.watchdog import watched
from tunesmith_flows import desk as desks
from tunesmith_flows.bench import Bench
from tunesmith_flows.desk import Curve, Desk

TELLING = (
    *("rows", "prompts", "pairs", "labels", "agreement", "of_ceiling", "accuracy"),
    *("reward_before", "reward_after", "eval_loss", "loss", "bits_per_weight", "bytes"),
    *("passed", "model"),
)
"""Metrics worth a glance when a stage is done, in the order they are shown."""
log = logging.getLogger("tunesmith.flows")
Work = Callable[[Bench], Outcome]
Publish = Callable[[Bench, Artifact], None]
Versions = dict[str, dict[str, str]]


def staged(
    stage: str, work: Work, run_id: str, made: dict[str, str], publish: Publish | None = None
) -> str:
    """Return the id of the stage's artifact, from the ledger or by doing the work.

    ``made`` maps the stages so far to their artifacts. ``publish`` tells the world of a new
    artifact; it must be safe to repeat, because a kill can fall between it and the ledger.
    """
    desk = desks.of(run_id)
    inputs = {name: made[name] for name in stages.inputs(stage, desk.config, made)}
    key = stage_key(desk.config, stage, inputs)
    claim = _claim(desk, stage, key)
    if claim.artifact:
        return taken(desk, stage, key, claim.artifact)
    _started(desk, stage)
    began = time.monotonic()
    try:
        artifact, timings = _make(desk, stage, key, work, inputs, publish)
        ledger.finish(desk.store, claim.attempt, artifact.id, timings)
    except BaseException as error:  # whatever it is, the attempt must not stay RUNNING
        fault = blamed(error)
        _ended_badly(desk, stage, claim.attempt, fault)
        if fault is not error:
            raise fault from error
        raise
    shutil.rmtree(work_folder(key), ignore_errors=True)
    _finished(desk, stage, artifact, time.monotonic() - began)
    return artifact.id


def taken(desk: Desk, stage: str, key: str, artifact_id: str) -> str:
    """Take a stage's artifact from the ledger; raise ArtifactError when it is damaged."""
    artifact = desk.store.artifacts.get(artifact_id)
    ledger.cached(desk.store, desk.run_id, stage, key, artifact_id)
    if desk.progress:
        desk.progress.finished(stage, f"{artifact_id}  {headline(artifact)}", cached=True)
    plugins.announce(
        "stage_finished", run=desk.facts(), stage=stage, artifact=artifact_id, cached=True
    )
    return artifact_id


def check_stop(bench: Bench) -> None:
    """Raise Stopped when the user has asked for it; for work that has no checkpoints."""
    if bench.should_stop():
        raise Stopped(f"{bench.stage} was stopped; it begins again when the run is resumed.")


def work_folder(key: str) -> Path:
    """Return where a stage's checkpoints outlive a kill; another key never finds them."""
    return settings.home().work / key


def _claim(desk: Desk, stage: str, key: str) -> ledger.Claim:
    """Take the work on, or wait while another run of this machine does the same work."""
    while True:
        if desk.stop.is_set():
            raise Stopped(f"Stopped before {stage}.")
        try:
            return ledger.claim(desk.store, desk.run_id, stage, key, wait_s=1.0)
        except ledger.StageBusy as busy:
            if desk.progress:
                desk.progress.point(stage, {"doing": str(busy)})


def _make(
    desk: Desk,
    stage: str,
    key: str,
    work: Work,
    inputs: dict[str, str],
    publish: Publish | None,
) -> tuple[Artifact, dict[str, float]]:
    """Do the work in a draft, and store what came of it."""
    folder = work_folder(key)
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = desk.store.artifacts
    kind = next(one.kind for one in stages.STAGES if one.name == stage)
    curve = Curve(desk, stage)
    with (
        curve.log,
        watched(lambda said: _warn(desk, stage, said)) as watch,
        artifacts.draft(kind) as draft,
    ):

        def report(point: dict[str, Any]) -> None:
            watch.beat()
            curve(point)

        bench = Bench(
            stage=stage,
            config=desk.config,
            out=draft.path,
            work=folder,
            inputs={name: artifacts.get(one) for name, one in inputs.items()},
            run_id=desk.run_id,
            store=desk.store,
            report=report,
            show_samples=lambda variant, told: runs.log_samples(
                desk.store, desk.run_id, stage, variant, told
            ),
            should_stop=desk.stop.is_set,
        )
        began = time.monotonic()
        outcome = work(bench)
        timings = {**outcome.timings, "work_seconds": time.monotonic() - began}
        config, versions = _recipe(desk, stage, inputs)
        artifact = draft.commit(
            inputs=list(inputs.values()),
            config=config,
            seed=bench.seed,
            metrics=finite(outcome.metrics),
            versions=versions,
            fingerprint=_fingerprint(kind, draft.path),
        )
        if publish:
            publish(bench, artifact)
    return artifact, timings


def _warn(desk: Desk, stage: str, sentence: str) -> None:
    """Say that a plugin seems to hang, where people look and in the log."""
    log.warning("%s: %s", stage, sentence)
    if desk.progress:
        desk.progress.point(stage, {"doing": sentence})


def _fingerprint(kind: str, folder: Path) -> str | None:
    """Return what ties a model to its chat template and tokenizer."""
    if kind != "model":
        return None
    from tunesmith.chat import fingerprint
    from tunesmith.models import load_tokenizer

    return fingerprint(load_tokenizer(folder))


def _recipe(desk: Desk, stage: str, inputs: dict[str, str]) -> tuple[dict[str, Any], Versions]:
    """Return what the artifact was made by, and in which versions.

    Only the first is part of the digest: another release of a library that computes the same makes
    the same artifact.
    """
    found = ingredients(desk.config, stage, inputs)
    made_by = {
        path: {"name": technique["name"], **technique["options"]}
        for path, technique in found["techniques"].items()
    }
    sources = {path: technique["source"] for path, technique in found["techniques"].items()}
    config = {"settings": found["config"], "techniques": made_by, "model": found["model"]}
    return config, {"libraries": found["versions"], "techniques": sources}


def _started(desk: Desk, stage: str) -> None:
    if desk.progress:
        desk.progress.started(stage)
    plugins.announce("stage_started", run=desk.facts(), stage=stage)


def _finished(desk: Desk, stage: str, artifact: Artifact, seconds: float) -> None:
    if desk.progress:
        desk.progress.finished(stage, f"{artifact.id}  {headline(artifact)}")
    plugins.announce(
        "stage_finished", run=desk.facts(), stage=stage, artifact=artifact.id, cached=False
    )


def _ended_badly(desk: Desk, stage: str, attempt: int, error: BaseException) -> None:
    """Say in the ledger and on the screen how an attempt ended without a result."""
    if isinstance(error, Waiting):
        ledger.wait(desk.store, attempt, error.reason)
    elif interrupts(error):
        ledger.stop(desk.store, attempt, str(error) or "Interrupted.")
    else:
        ledger.fail(desk.store, attempt, error)
    if desk.progress is None:
        return
    if isinstance(error, Waiting) or interrupts(error):
        desk.progress.stopped(stage, str(error) or "Interrupted.")
    else:
        desk.progress.failed(stage, str(error) or type(error).__name__)


def interrupts(error: BaseException) -> bool:
    """Say whether somebody ended the work (Ctrl-C once or twice, SIGTERM), rather than a fault."""
    return isinstance(error, Stopped) or not isinstance(error, Exception)


def finite(value: Any) -> Any:
    """Return the value with None for every number that is not one; a manifest holds no NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def headline(artifact: Artifact) -> str:
    """Return the most telling of the artifact's figures in one line."""
    found = [(name, artifact.metrics[name]) for name in TELLING if name in artifact.metrics]
    return "  ".join(f"{name} {_shown(value)}" for name, value in found[:4])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
