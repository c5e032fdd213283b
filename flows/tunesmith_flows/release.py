"""Release the model that passed its gates: try it, register it, deploy it, move the alias."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tunesmith import Deployer, ModelError, Outcome, Sampler, plugins, stages
from tunesmith.errors import GateRefused
from tunesmith.promises import returned
from tunesmith.store import Artifact, registry, runs
from tunesmith_flows import answering, samples, staging
from tunesmith_flows.bench import Bench, write_json
from tunesmith_flows.combining import STUDENT
from tunesmith_flows.contestants import Contestant, contestants
from tunesmith_flows.tasks import stage_task


@stage_task(name="release")
def release(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the bundle."""
    return staging.staged("release", work, run_id, made, publish)


def work(bench: Bench) -> Outcome:
    """Write the bundle: which model, on which engine, with which evidence."""
    require_gates(bench)
    model = contestants(bench)[-1]
    spoken = smoke_test(bench, model)
    newest = stages.last_model(bench.inputs)
    bundle = {
        "name": bench.config.release.name,
        "model": bench.inputs[newest].id if newest else bench.config.model,
        "model_name": model.name,
        "engine": model.engine.model_dump(mode="json") | {"name": model.engine.name},
        "evidence": bench.inputs["evaluate"].id,
        "gates": verdicts(bench),
        "smoke_test": spoken,
        "fingerprint": spoken["fingerprint"],
    }
    write_json(bench.out / "bundle.json", bundle)
    return Outcome(metrics={"name": bundle["name"], "model": bundle["model"]})


def require_gates(bench: Bench) -> None:
    """Raise GateRefused, naming every gate that the evidence did not pass."""
    failed = [one for one in verdicts(bench) if not one["passed"]]
    if failed:
        reasons = "; ".join(f"{one['gate']}: {one['reason']}" for one in failed)
        raise GateRefused(
            f"Not released, because {len(failed)} of the gates did not pass. {reasons}."
            f" The evidence is stored as {bench.inputs['evaluate'].id}."
        )


def verdicts(bench: Bench) -> list[dict[str, Any]]:
    """Return what the gates said."""
    path = bench.inputs["evaluate"].path / "verdicts.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def smoke_test(bench: Bench, model: Contestant) -> dict[str, Any]:
    """Let the very files that are released answer a prompt of every task on their engine.

    Raises ModelError when nothing comes back at all, or when the released tokenizer would spell a
    conversation differently from the one the model was trained and measured with.
    """
    from tunesmith.chat import fingerprint

    rows = samples.sample_rows(bench.rows("test") or bench.rows("validation"))
    greedy = plugins.build(Sampler, "greedy")
    with model.speaks() as voice:
        answers = answering.answer_rows(bench, voice, rows, greedy, bench.seed)
        spoken = fingerprint(voice.tokenizer)
    trained = _trained_with(bench)
    if trained not in (None, spoken):
        raise ModelError(
            f"The tokenizer or chat template of {model.name} is not the one it was trained with"
            f" ({spoken[:12]} instead of {trained[:12]}). Run the stage that made it again."
        )
    said = [(row, answer.text) for row, answer in zip(rows, answers, strict=True)]
    row, text = next((one for one in said if one[1].strip()), (None, ""))
    if row is None:
        raise ModelError(
            f"{model.name} answers {len(rows)} prompts with nothing, so it is not released."
        )
    return {"prompt": answering.last_words(row), "answer": text, "fingerprint": spoken}


def _trained_with(bench: Bench) -> str | None:
    """Return the mark of the tokenizer that the released weights learnt with."""
    from tunesmith.chat import fingerprint
    from tunesmith.models import load_tokenizer

    small = bench.inputs.get("optimise")
    if small and (small.path / STUDENT).is_dir():  # which may have a tokenizer of its own
        return fingerprint(load_tokenizer(small.path / STUDENT))
    made = [bench.inputs[stage] for stage in ("align", "tune") if stage in bench.inputs]
    return made[0].manifest["fingerprint"] if made else None


def publish(bench: Bench, bundle: Artifact) -> None:
    """Register, deploy and point the alias; all of it is safe to repeat after a kill."""
    section, store = bench.config.release, bench.store
    if store is None:
        return
    version = registry.register(
        store,
        section.name,
        bundle.id,
        run_id=bench.run_id,
        evidence_id=bench.inputs["evaluate"].id,
        author=bench.run_id,
    )
    facts = {"model": section.name, "version": version, "artifact": bundle.id}
    plugins.announce("model_registered", version=facts)
    place = _deploy(bench, bundle) if section.deployer else {}
    runs.annotate(store, bench.run_id, {"release": facts | {"deployed": place}})
    if section.alias:
        _point(bench, section.alias, facts)


def _deploy(bench: Bench, bundle: Artifact) -> dict[str, Any]:
    """Hand the deployer one folder with the model's files, the bundle and its evidence."""
    folder = bench.work / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    newest = stages.last_model(bench.inputs)
    model = bench.inputs[newest].path if newest else bench.model()
    _link(model, folder)
    _link(bundle.path, folder)
    _link(bench.inputs["evaluate"].path, folder / "evidence")
    deployer = plugins.build(Deployer, bench.config.release.deployer)
    return returned(deployer, "deploy", deployer.deploy(folder), dict)


def _link(source: Path, target: Path) -> None:
    """Show the files of a folder in another; a deployer copies what it needs."""
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if path.name != "manifest.json":
            (target / path.name).symlink_to(path)


def _point(bench: Bench, alias: str, facts: dict[str, Any]) -> None:
    """Move the alias by compare-and-swap: nobody else's promotion is overwritten unseen."""
    store, model, version = bench.store, facts["model"], facts["version"]
    rev = registry.alias_rev(store, model, alias)
    if rev and registry.resolve(store, model, alias).version == version:
        return
    registry.set_alias(
        store,
        model,
        alias,
        version,
        actor=bench.run_id,
        reason=f"released by {bench.run_id}",
        expected_rev=rev,
    )
    plugins.announce("model_promoted", alias=alias, version=facts)
