"""The model that the run begins with: is it whole, and does it fit what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith.config import Lifecycle
from tunesmith.errors import ModelError
from tunesmith.model_facts import ModelFacts
from tunesmith.preflight.built import Built, asked
from tunesmith.preflight.outcome import Plan
from tunesmith.techniques import Distiller, Quantizer, Task, TrainingMethod

LOADS = ("tune", "respond", "reward", "align", "optimise", "evaluate", "release")
"""Stages that load a model."""


def check_model(
    config: Lifecycle, wanted: list[str], built: Built, plan: Plan
) -> ModelFacts | None:
    """Return what is known of the model; None for `scratch` and for one that cannot be used."""
    if config.model == "scratch" or not set(LOADS) & set(wanted):
        return None
    folder = _folder("model", config.model, plan)
    if folder is None:
        return None
    from tunesmith.models import inspect_model

    facts = inspect_model(folder)
    for problem in facts.problems:
        plan.problem("model", problem)
    if facts.problems:
        return None
    plan.facts["model"] = {
        "folder": str(folder),
        "architecture": facts.architecture,
        "parameters": facts.parameters,
        "bytes": facts.bytes,
        "context": facts.context,
    }
    if not facts.has_chat_template:
        plan.warn(
            "model", "it has no chat template; conversations are written as `User: ... Assistant:`."
        )
    return facts


def _folder(path: str, model: str, plan: Plan) -> Path | None:
    from tunesmith.models import resolve_model

    try:
        return resolve_model(model)
    except ModelError as error:
        plan.problem(path, str(error))
    return None


def check_techniques_fit(
    config: Lifecycle, wanted: list[str], built: Built, facts: ModelFacts | None, plan: Plan
) -> None:
    """Note techniques that cannot work with this model: its format, its context, its kind."""
    _check_student(config, built, plan)
    if facts is None:
        return
    folder = Path(plan.facts["model"]["folder"])
    _check_context(built, facts, plan)
    quantizer = built.one("optimise.quantizer", Quantizer)
    if quantizer is not None and not (config.optimise and config.optimise.distil):
        for problem in asked(
            partial(quantizer.objections, folder), quantizer, "optimise.quantizer", plan
        ):
            plan.problem("optimise.quantizer", problem)
    for path, technique in built.at.items():
        question: Callable[[Path], list[str]] | None = getattr(
            technique, "problems_with_model", None
        )
        if question is not None:
            # What a quantizer or an adapter has against an architecture.
            for problem in asked(partial(question, folder), technique, path, plan):
                plan.problem(path, problem)


def _check_context(built: Built, facts: ModelFacts, plan: Plan) -> None:
    if facts.context is None:
        plan.problem(
            "model",
            "its config.json does not say how long a sequence may be. Add max_position_embeddings.",
        )
        return
    for path, technique in built.at.items():
        asked_for = _longest(technique)
        if asked_for is not None and asked_for[1] > facts.context:
            plan.problem(
                path,
                f"{technique.name}.{asked_for[0]} is {asked_for[1]:,} tokens, and the model's"
                f" context is {facts.context:,}. Lower it.",
            )


def _longest(technique: Any) -> tuple[str, int] | None:
    """Return the option that says how many tokens a technique wants at once."""
    if not isinstance(technique, Task | TrainingMethod | Distiller):
        return None
    for name in ("max_length", "sequence", "max_new_tokens"):
        value = getattr(technique, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return name, value
    return None


def _check_student(config: Lifecycle, built: Built, plan: Plan) -> None:
    for path, one in config.optimise.combinations.items() if config.optimise else ():
        student = one.distil.get("student") if one.distil else None
        distiller = built.one(f"{path}.distil", Distiller)
        if isinstance(student, str):  # a shape is one of the distiller's options
            _check_taught(f"{path}.distil.student", student, plan)
        elif distiller is not None and distiller.needs_student:
            plan.problem(
                f"{path}.distil.student",
                f"{distiller.name} goes on from a student that answers already, and none is named."
                " Give its folder; sequence or logit makes one.",
            )


def _check_taught(path: str, student: str, plan: Plan) -> None:
    from tunesmith.models import inspect_model

    folder = _folder(path, student, plan)
    for problem in inspect_model(folder).problems if folder else ():
        plan.problem(path, problem)
