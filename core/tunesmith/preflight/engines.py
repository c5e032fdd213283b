"""Settle which engine runs a model: one that is chosen by measurement is chosen here, once.

The choice takes the place of what the config said, so that it is part of the stage's key and of the
stored run: a resumed run keeps it, however the machine has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith import plugins, stages
from tunesmith.config import Lifecycle
from tunesmith.errors import TunesmithError
from tunesmith.generation.answers import REFERENCE
from tunesmith.generation.exporting import obstacles
from tunesmith.model_facts import ModelFacts
from tunesmith.preflight.built import Built, build_all
from tunesmith.preflight.model_fits import check_model
from tunesmith.preflight.outcome import Plan
from tunesmith.records import Spec
from tunesmith.techniques import Adapter, Engine, Sampler

SAMPLERS = {
    "respond.engine": ("respond.sampler",),
    "evaluate.engine": ("evaluate.sampler", "evaluate.win_rate.sampler"),
}
"""Where a config names an engine for models at their own precision -> what they are drawn by."""


def settle(
    config: Lifecycle, wanted: list[str], built: Built, facts: ModelFacts | None, plan: Plan
) -> Lifecycle:
    """Return the config with every choice made; note what an engine cannot do in ``plan``.

    Choices for stages that are not wanted yet are made as well: a run that ended before them is
    resumed from its stored config, without another plan.
    """
    for path in SAMPLERS:
        engine = built.one(path, Engine)
        if engine is None:
            _settle_later(config, wanted, path, plan)
            continue
        if _chooses(engine):
            engine = built.at[path] = _choice(path, engine, built, facts, plan)
            plan.chosen[path] = _spec(engine)
        _check(path, engine, built, facts, plan)
    return settled(config, plan.chosen)


def _settle_later(config: Lifecycle, wanted: list[str], path: str, plan: Plan) -> None:
    every = [stage.name for stage in stages.planned(config)]
    if every == wanted:
        return
    later = Plan(plan.name, plan.model)
    built = build_all(config, every, later)
    engine = built.one(path, Engine)
    if engine is not None and _chooses(engine):
        facts = check_model(config, every, built, later)
        plan.chosen[path] = _spec(_choice(path, engine, built, facts, later))
        for warning in later.warnings:
            plan.warn(warning.place, warning.text)


def _chooses(engine: Engine) -> bool:
    return type(engine).chosen is not Engine.chosen


def _spec(engine: Engine) -> Spec:
    return {"name": engine.name, **engine.model_dump(mode="json")}


def settled(config: Lifecycle, chosen: Mapping[str, Spec]) -> Lifecycle:
    """Return the config with the engines that were chosen, by where they stand."""
    if not chosen:
        return config
    whole: dict[str, Any] = config.model_dump(mode="json")
    for path, spec in chosen.items():
        section, _, key = path.partition(".")
        whole[section][key] = spec
    return Lifecycle.model_validate(whole)


def drawn_by(path: str, built: Built) -> Iterator[tuple[str, Sampler]]:
    """Yield the samplers that an engine must express, that of most answers first."""
    for place in SAMPLERS[path]:
        sampler = built.one(place, Sampler)
        if sampler is not None:
            yield place, sampler
    if path.startswith("evaluate"):
        yield from built.under("evaluate.tasks", Sampler).items()


def _choice(
    path: str, engine: Engine, built: Built, facts: ModelFacts | None, plan: Plan
) -> Engine:
    """Return what the engine chooses, or the reference where there is nothing to choose by."""
    why = _only_reference(path, built, facts, plan)
    if why is None:
        try:
            first = next(sampler for _, sampler in drawn_by(path, built))
            return engine.chosen(Path(plan.facts["model"]["folder"]), first)
        except TunesmithError as error:
            plan.problem(path, str(error))
    elif not plan.problems:
        plan.warn(path, f"{engine.name} takes {REFERENCE}, because {why}.")
    return plugins.build(Engine, REFERENCE)


def _only_reference(path: str, built: Built, facts: ModelFacts | None, plan: Plan) -> str | None:
    """Return why no other engine comes into question, None where one does."""
    if facts is None:
        return "there is no model to measure yet"
    if plan.problems:
        return "there are problems to put right first"
    if adapter := _unmerged(built):
        return f"{adapter} stays outside the weights, which only {REFERENCE} can run"
    unsaid = [
        sampler.name
        for _, sampler in drawn_by(path, built)
        if sampler.searches or not _fast_engines_say(sampler)
    ]
    return f"no other engine samples with {unsaid[0]}" if unsaid else None


def _fast_engines_say(sampler: Sampler) -> bool:
    names = [name for name in plugins.host().available(Engine) if name != REFERENCE]
    return any(sampler.engine_options(name) is not None for name in names)


def _unmerged(built: Built) -> str | None:
    for path in ("tune.adapter", "align.adapter"):
        adapter = built.one(path, Adapter)
        if adapter is not None and not adapter.mergeable:
            return adapter.name
    return None


def _check(path: str, engine: Engine, built: Built, facts: ModelFacts | None, plan: Plan) -> None:
    """Note why an engine that the config names cannot run the models there will be."""
    if engine.name == REFERENCE:
        return
    if adapter := _unmerged(built):
        plan.problem(
            path,
            f"{adapter} stays outside the weights, which {engine.name} cannot run;"
            f" use {REFERENCE}.",
        )
    if facts is not None and "model" in plan.facts:
        for why in obstacles(engine, Path(plan.facts["model"]["folder"])):
            plan.problem(path, f"{why} Use {REFERENCE}; other engines come after `optimise`.")
