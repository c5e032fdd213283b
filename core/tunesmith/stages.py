"""The stages of a lifecycle: their order, what each makes, and what each is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith import plugins
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.techniques import RewardModel, TrainingMethod

if TYPE_CHECKING:
    from tunesmith.config import Lifecycle


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a lifecycle; ``section`` is the part of the config that asks for it."""

    name: str
    section: str
    kind: str
    """The kind of the one artifact it makes."""


STAGES = (
    Stage("prepare", "data", "dataset"),
    Stage("tune", "tune", "model"),
    Stage("respond", "respond", "responses"),
    Stage("collect", "collect", "preferences"),
    Stage("reward", "reward", "reward_model"),
    Stage("align", "align", "model"),
    Stage("optimise", "optimise", "quantized_model"),
    Stage("evaluate", "evaluate", "evaluation"),
    Stage("release", "release", "bundle"),
)
"""Every stage, in order."""
NAMES = tuple(stage.name for stage in STAGES)
MODELS = {"tune": "tuned", "align": "aligned", "optimise": "quantized"}
"""The stages that make a model, and what the evidence calls it; the run begins with ``base``."""


def planned(config: Lifecycle, until: str | None = None) -> tuple[Stage, ...]:
    """Return the stages a config asks for, up to and including ``until``.

    Raises ConfigError when ``until`` is no stage, or one the config does not ask for.
    """
    wanted = tuple(stage for stage in STAGES if getattr(config, stage.section) is not None)
    if until is None:
        return wanted
    names = [stage.name for stage in wanted]
    if until not in names:
        hint = did_you_mean(until, names)
        raise ConfigError(f"This run has no stage {until!r}.{hint} Stages: {', '.join(names)}.")
    return wanted[: names.index(until) + 1]


def inputs(stage: str, config: Lifecycle, made: Mapping[str, Any]) -> list[str]:
    """Return the earlier stages whose artifacts a stage reads; ``made`` holds those there are.

    Only what is read counts: a change that a stage never sees must not make it run again.
    """
    models = [name for name in MODELS if name in made]
    whole = [name for name in models if name != "optimise"]
    match stage:
        case "prepare":
            wanted = []
        case "tune":
            wanted = ["prepare"]
        case "respond":
            wanted = ["prepare", "tune"]
        case "collect":
            wanted = ["respond"]
        case "reward":
            wanted = ["collect", "tune"] if _judges_by_labels(config) else ["prepare"]
        case "align":
            wanted = ["prepare", "tune", _teacher(config)]
        case "optimise":
            wanted = [*(["prepare"] if _reads_rows(config) else []), *whole[-1:]]
        case "evaluate":
            wanted = ["prepare", *models]
        case "release":
            wanted = ["prepare", *models, "evaluate"]
        case _:
            raise ConfigError(f"There is no stage {stage!r}.{did_you_mean(stage, NAMES)}")
    return [name for name in wanted if name in made]


def last_model(made: Mapping[str, Any]) -> str | None:
    """Return the newest stage that made a model, or None while there is only the base."""
    return next((name for name in reversed(MODELS) if name in made), None)


def _teacher(config: Lifecycle) -> str:
    """Return what alignment learns from: the preferences themselves, or a reward model."""
    if config.align is None:
        return ""
    method = plugins.build(TrainingMethod, config.align.method)
    return "collect" if learns_from_labels(method) else "reward"


def learns_from_labels(technique: TrainingMethod | RewardModel) -> bool:
    """Say whether a method of alignment, or a reward, learns from the labels themselves."""
    return "preference" in technique.rows_type  # paired or not


def _judges_by_labels(config: Lifecycle) -> bool:
    if config.reward is None:
        return True
    return learns_from_labels(plugins.build(RewardModel, config.reward.model))


def tried_tasks(config: Lifecycle) -> list[str]:
    """Return the tasks whose prompts a policy tries, and its reward must know; empty: all."""
    own = config.align.tasks if config.align else []
    return own or (config.respond.tasks if config.respond else [])


def _reads_rows(config: Lifecycle) -> bool:
    """Say whether `optimise` needs rows: to teach a student, or to ask what it chooses among."""
    section = config.optimise
    return section is not None and bool(
        section.choose or any(one.distil for one in section.combinations.values())
    )
