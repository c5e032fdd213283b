"""Make the newest model small: distil it if asked to, then store its weights in fewer bits."""

from __future__ import annotations

from pathlib import Path

from tunesmith import Distiller, Engine, Outcome, Quantizer, TrainingJob, plugins
from tunesmith.promises import returned
from tunesmith_flows import proving, staging
from tunesmith_flows.bench import Bench, write_json
from tunesmith_flows.tasks import stage_task


@stage_task(name="optimise")
def optimise(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the quantized model."""
    return staging.staged("optimise", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Write the quantized model, and a report of what it weighs and which accelerators hold."""
    from tunesmith.adapted import refuse_adapted
    from tunesmith.models import parameter_count

    section = bench.config.optimise
    quantizer = plugins.build(Quantizer, section.quantizer)
    refuse_adapted(bench.model(), f"{quantizer.name} makes a model smaller")
    parent, taught = _student(bench)
    bench.report({"doing": f"quantizing with {quantizer.name}"})
    outcome = returned(quantizer, "quantize", quantizer.quantize(parent, bench.out), Outcome)
    outcome.metrics |= taught.metrics
    outcome.timings |= taught.timings
    engine = plugins.build(Engine, quantizer.engine)
    proofs = proving.proven(bench, engine, bench.out, parent)
    if proofs:
        outcome.metrics["accelerators"] = {one["name"]: one["on"] for one in proofs}
    report = {
        **outcome.metrics,
        "parent": bench.model_name(),
        "parameters": parameter_count(parent),
        "engine": quantizer.engine,
        "accelerators": proofs,
    }
    write_json(bench.out / "report.json", report)
    return outcome


def _student(bench: Bench) -> tuple[Path, Outcome]:
    """Return what is quantized: the newest model, or a smaller one that it has taught."""
    from tunesmith.models import resolve_model

    spec = bench.config.optimise.distil
    if not spec:
        return bench.model(), Outcome()
    options = dict(spec)
    start = None
    if isinstance(options.get("student"), str):  # a folder to teach; a shape is the distiller's own
        start = resolve_model(options.pop("student"))
    # Kept beside the quantized files: a taught model is a result of its own.
    folder = bench.out / "student"
    distiller = plugins.build(Distiller, options)
    outcome = distiller.distil(
        bench.model(),
        TrainingJob(
            rows=bench.rows("train"),
            eval_rows=bench.rows("validation"),
            model_dir=start,
            out=folder,
            work=bench.work / "distil",
            seed=bench.seed,
            report=bench.report,
            should_stop=bench.should_stop,
        ),
    )
    return folder, returned(distiller, "distil", outcome, Outcome)
