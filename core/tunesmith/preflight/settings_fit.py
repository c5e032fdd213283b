"""Settings that are each right and do not go together."""

from __future__ import annotations

from functools import partial

from tunesmith import plugins
from tunesmith.adapted import reason
from tunesmith.config import Lifecycle, Optimise
from tunesmith.errors import TunesmithError, did_you_mean
from tunesmith.generation.accelerate import with_accelerators
from tunesmith.preflight.built import Built, asked
from tunesmith.preflight.outcome import Plan
from tunesmith.prompts import label
from tunesmith.stages import learns_from_labels
from tunesmith.techniques import (
    Accelerator,
    Adapter,
    Engine,
    FeedbackSource,
    PromptStyle,
    Quantizer,
    RewardModel,
    Sampler,
    Task,
    TrainingMethod,
)


def check(config: Lifecycle, wanted: list[str], built: Built, plan: Plan) -> None:
    """Note what would make a later stage fail, wait for ever, or quietly do less."""
    for stage in ("tune", "align"):
        if stage in wanted:
            _check_adapter(stage, wanted, built, plan)
    if config.collect and "collect" in wanted:
        _check_collect(config, wanted, built, plan)
    if config.respond and "respond" in wanted:
        _check_sampler(built, "respond.sampler", built.one("respond.engine", Engine), plan)
        _check_answers_differ(built, plan)
        _check_tasks("respond.tasks", config.respond.tasks, plan)
    if config.evaluate and "evaluate" in wanted:
        _check_evaluate(config, built, plan)
    if config.optimise and "optimise" in wanted:
        for path in config.optimise.combinations:
            _check_accelerators(path, built, plan)
        _check_choice(config.optimise, wanted, plan)


GOES_ON = {
    "reward": "reward cannot learn from it",
    "align": "align cannot train it further",
    "optimise": "optimise cannot export it",
}
"""Stages that need a model whose adapter is part of its weights, and what fails otherwise."""


def _check_adapter(stage: str, wanted: list[str], built: Built, plan: Plan) -> None:
    """Note stages that come after an adapter which stays outside the weights."""
    path = f"{stage}.adapter"
    adapter, method = built.one(path, Adapter), built.one(f"{stage}.method", TrainingMethod)
    if adapter is None or adapter.mergeable:
        return
    later = GOES_ON if stage == "tune" else {"optimise": GOES_ON["optimise"]}
    hurt = [why for name, why in later.items() if name in wanted]
    if hurt:
        plan.problem(
            path,
            f"{reason(adapter.name)} Here {', and '.join(hurt)}: take the section out, or the"
            " adapter.",
        )
    if method is not None and method.rows_type == "prompt-only":
        plan.problem(
            path,
            f"{method.name} samples from a merged copy of the model, and {adapter.name} cannot be"
            " merged. Use lora, dora, rslora or ia3, or a method that learns from rows (sft, dpo).",
        )


def _check_collect(config: Lifecycle, wanted: list[str], built: Built, plan: Plan) -> None:
    collect, source = config.collect, built.one("collect.source", FeedbackSource)
    if collect is None or source is None:
        return
    if source.waits and collect.agreement is not None and collect.overlap < 2:
        plan.problem(
            "collect.agreement",
            "agreement can only be known when several people label the same pair. Set"
            " collect.overlap to 2 or more, or take agreement out.",
        )
    model = built.one("reward.model", RewardModel)
    learns = model is not None and learns_from_labels(model)
    gate = config.reward.gate if config.reward and "reward" in wanted and learns else None
    knows = type(source).utility is not FeedbackSource.utility
    if source.waits and gate and gate.min_of_ceiling and collect.overlap < 2 and not knows:
        plan.problem(
            "reward.gate.min_of_ceiling",
            "the annotators' ceiling can only be known when several people label the same pair."
            " Set collect.overlap to 2 or more, or min_of_ceiling: null.",
        )
    if source.by_model and gate and gate.min_of_ceiling and not knows:
        plan.problem(
            "reward.gate.min_of_ceiling",
            f"{source.name} gives each pair one label, so how far it agrees with others, which the"
            " ceiling is made of, cannot be known. Set min_of_ceiling: null and a min_accuracy.",
        )


def _check_sampler(built: Built, path: str, engine: Engine | None, plan: Plan) -> None:
    sampler = built.one(path, Sampler)
    if sampler is None or engine is None or engine.name == "transformers":
        return
    if sampler.engine_options(engine.name) is None:
        known = [
            name
            for name, one in plugins.host().available(Sampler).items()
            if one.engine_options is not Sampler.engine_options
        ]
        plan.problem(
            path,
            f"the engine {engine.name} cannot sample with {sampler.name}. Use"
            f" {', '.join(known)}, or the engine transformers.",
        )


def _check_answers_differ(built: Built, plan: Plan) -> None:
    sampler = built.one("respond.sampler", Sampler)
    if sampler is not None and not sampler.draws:
        plan.problem(
            "respond.sampler",
            f"{sampler.name} gives every prompt one answer, however often it is asked, so there"
            " would be nothing to compare. Use one that draws: temperature, top_p, min_p, ...",
        )


def _check_tasks(path: str, tasks: list[str], plan: Plan) -> None:
    known = plugins.host().available(Task)
    for name in tasks:
        if name not in known and did_you_mean(name, known):
            plan.warn(path, f"no Task is named {name!r}.{did_you_mean(name, known)}")


def _check_evaluate(config: Lifecycle, built: Built, plan: Plan) -> None:
    section = config.evaluate
    if section is None:
        return
    engine = built.one("evaluate.engine", Engine)
    for one in (*built.under("optimise", Engine).values(), engine):
        for path in ("evaluate.sampler", *built.under("evaluate.tasks", Sampler)):
            _check_sampler(built, path, one, plan)
    _check_sampler(built, "evaluate.win_rate.sampler", engine, plan)
    named = [spec.get("name") for spec in section.evaluators]
    if section.win_rate:
        _check_tasks("evaluate.win_rate.task", [section.win_rate.task], plan)
        if "win_rate" not in named:
            plan.warn("evaluate.win_rate", "the evaluator win_rate is not in evaluate.evaluators.")
    if section.tasks and "task_scores" not in named:
        plan.warn("evaluate.tasks", "the evaluator task_scores is not in evaluate.evaluators.")
    _check_papers(built, plan)


def _check_papers(built: Built, plan: Plan) -> None:
    """Note what is asked twice, and tasks that a style makes no sense for."""
    papers: set[tuple[str, str]] = set()
    for path, task in built.under("evaluate.tasks", Task).items():
        style = built.one(f"{path}.style", PromptStyle)
        if style is None:
            continue
        for problem in asked(partial(style.problems_with_task, task), style, path, plan):
            plan.problem(f"{path}.style", problem)
        paper = task.name, label(style)
        if paper in papers:
            plan.problem(
                "evaluate.tasks", f"{task.name} with the style {paper[1]} is there twice; keep one."
            )
        papers.add(paper)


def _check_accelerators(combination: str, built: Built, plan: Plan) -> None:
    quantizer = built.one(f"{combination}.quantizer", Quantizer)
    found = built.under(f"{combination}.accelerators", Accelerator)
    for path, one in found.items():
        if quantizer is not None and quantizer.engine not in one.runs_on():
            plan.problem(
                path,
                f"{one.name} is for the engine {' or '.join(one.runs_on())}, but what"
                f" {quantizer.name} writes runs on {quantizer.engine}. Take it out.",
            )
            return
    engine = built.one(f"{combination}.quantizer.engine", Engine)
    if engine is None:
        return
    try:
        with_accelerators(engine, list(found.values()))
    except TunesmithError as error:
        plan.problem(f"{combination}.accelerators", str(error))


def _check_choice(section: Optimise, wanted: list[str], plan: Plan) -> None:
    if section.choose and not section.alternatives:
        plan.warn("optimise.choose", "there are no alternatives, so there is nothing to choose.")
    if section.choose and "prepare" not in wanted:
        plan.problem(
            "optimise.choose",
            "what is chosen among is asked items of the split `validation`, and there is no `data`"
            " section to take them from.",
        )
