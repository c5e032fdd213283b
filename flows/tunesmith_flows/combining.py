"""Make one combination: teach a student if one is asked for, quantize, prove the accelerators."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith import Accelerator, Distiller, Engine, Outcome, Quantizer, TrainingJob, plugins
from tunesmith.config import Combination
from tunesmith.promises import returned
from tunesmith_flows import proving
from tunesmith_flows.bench import Bench, whole_file, write_json

REPORT = "report.json"
STUDENT = "student"
"""Where a taught model is kept beside its quantized files: it is a result of its own."""


@dataclass(frozen=True, slots=True)
class Made:
    """A combination whose files are there; ``report`` says what it weighs and what holds."""

    combination: Combination
    folder: Path
    mark: Path
    """The report beside the folder: while it is there, the folder is whole."""
    report: dict[str, Any]
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Any]:
        """Return what the artifact's manifest tells."""
        return dict(self.report["metrics"])

    def move_to(self, out: Path) -> None:
        """Move the files to another folder; after a kill in the midst they are made again."""
        self.mark.unlink()
        for path in self.folder.iterdir():
            shutil.move(path, out / path.name)
        write_json(out / REPORT, self.report)  # in place of the quantizer's own


def make(bench: Bench, path: str, combination: Combination) -> Made:
    """Make what the config has at ``path``; begun before, it goes on, and finished, is read."""
    folder, mark = bench.work / path, bench.work / f"{path}.json"
    if mark.is_file():
        return Made(combination, folder, mark, json.loads(mark.read_text(encoding="utf-8")))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parent, taught = _student(bench, combination, folder)
    outcome = _quantize(bench, combination, parent, folder)
    metrics = {**outcome.metrics, **taught.metrics}
    proofs = proving.proven(bench, combination, folder, parent)
    if proofs:
        metrics["accelerators"] = {one["name"]: one["on"] for one in proofs}
    report = _report(bench, combination, parent, metrics, proofs)
    whole_file(mark, lambda part: write_json(part, report))
    return Made(combination, folder, mark, report, {**outcome.timings, **taught.timings})


def _quantize(bench: Bench, combination: Combination, parent: Path, folder: Path) -> Outcome:
    quantizer = plugins.build(Quantizer, combination.quantizer)
    bench.report({"doing": f"quantizing: {combination.label}"})
    return returned(quantizer, "quantize", quantizer.quantize(parent, folder), Outcome)


def _report(
    bench: Bench,
    combination: Combination,
    parent: Path,
    metrics: dict[str, Any],
    proofs: list[dict[str, Any]],
) -> dict[str, Any]:
    from tunesmith.models import parameter_count

    return {
        **metrics,
        "metrics": metrics,
        "label": combination.label,
        "combination": combination.model_dump(mode="json", include=set(Combination.model_fields)),
        "parent": bench.model_name(),
        "parameters": parameter_count(parent),
        "engine": plugins.build(Quantizer, combination.quantizer).engine,
        "accelerators": proofs,
    }


def _student(bench: Bench, combination: Combination, folder: Path) -> tuple[Path, Outcome]:
    """Return what is quantized: the newest model, or a smaller one that it has taught."""
    from tunesmith.models import resolve_model

    if not combination.distil:
        return bench.model(), Outcome()
    options = dict(combination.distil)
    start = None
    if isinstance(options.get("student"), str):  # a folder to teach; a shape is the distiller's own
        start = resolve_model(options.pop("student"))
    distiller = plugins.build(Distiller, options)
    job = TrainingJob(
        rows=bench.rows("train"),
        eval_rows=bench.rows("validation"),
        model_dir=start,
        out=folder / STUDENT,
        work=folder.with_name(f"{folder.name}-distil"),
        seed=bench.seed,
        report=bench.report,
        should_stop=bench.should_stop,
    )
    outcome = distiller.distil(bench.model(), job)
    return job.out, returned(distiller, "distil", outcome, Outcome)


def engine_for(report: dict[str, Any]) -> Engine:
    """Return the engine that runs what a report tells of, with the accelerators that hold."""
    from tunesmith.generation.accelerate import fits, with_accelerators

    combination = report["combination"]
    engine = plugins.build(Engine, plugins.build(Quantizer, combination["quantizer"]).engine)
    wanted = [plugins.build(Accelerator, spec) for spec in combination["accelerators"]]
    wanted = [one for one in wanted if fits(engine, one)]
    return with_accelerators(engine, proving.still_on(report, wanted))
