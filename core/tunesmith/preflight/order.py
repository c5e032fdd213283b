"""Which stages need which others."""

from __future__ import annotations

from tunesmith.config import Lifecycle
from tunesmith.preflight.built import Built
from tunesmith.preflight.outcome import Plan
from tunesmith.stages import learns_from_labels
from tunesmith.techniques import FeedbackSource, RewardModel, TrainingMethod

NEEDS = {
    "tune": ("prepare", "it learns from the prepared rows"),
    "respond": ("prepare", "it answers the prepared prompts"),
    "collect": ("respond", "people compare the answers it writes"),
    "evaluate": ("prepare", "it asks the prepared test items"),
    "release": ("evaluate", "its gates decide whether a model may be released"),
}
"""stage -> the stage without which it cannot work, and why."""


def check(config: Lifecycle, wanted: list[str], built: Built, plan: Plan) -> None:
    """Note every stage whose forerunner is missing from the config."""
    for stage in wanted:
        if stage in NEEDS:
            need, why = NEEDS[stage]
            _require(need, stage, why, wanted, plan)
    if "reward" in wanted:
        _check_reward(wanted, built, plan)
    if "align" in wanted:
        _check_align(wanted, built, plan)
    if config.model == "scratch":
        _check_scratch(wanted, built, plan)
    if config.evaluate and config.evaluate.win_rate and "evaluate" in wanted:
        _check_win_rate(wanted, built, plan)


def _require(need: str, stage: str, why: str, wanted: list[str], plan: Plan) -> None:
    if need in wanted:
        return
    section = "data" if need == "prepare" else need
    plan.problem(
        stage,
        f"it needs the stage {need}, because {why}. Add a `{section}:` section, or take `{stage}:`"
        " out.",
    )


def _check_reward(wanted: list[str], built: Built, plan: Plan) -> None:
    model = built.one("reward.model", RewardModel)
    if model is None or learns_from_labels(model):
        _require("collect", "reward", "it learns from the labels", wanted, plan)
        return
    _require("prepare", "reward", f"{model.name} is tried on the prepared prompts", wanted, plan)


def _check_align(wanted: list[str], built: Built, plan: Plan) -> None:
    method = built.one("align.method", TrainingMethod)
    if method is None:
        return
    if learns_from_labels(method):
        _require("collect", "align", f"{method.name} learns from the labels", wanted, plan)
        return
    _require("reward", "align", f"{method.name} follows a reward", wanted, plan)
    _require("prepare", "align", f"{method.name} tries the prepared prompts", wanted, plan)


def _check_scratch(wanted: list[str], built: Built, plan: Plan) -> None:
    method = built.one("tune.method", TrainingMethod)
    if "tune" not in wanted:
        plan.problem(
            "model",
            "`scratch` means that `tune` makes the model. Add `tune: {method: pretrain}`, or name"
            " a model: builtin:nano, a folder, or a Hub id.",
        )
    elif method is not None and method.rows_type != "language-modelling":
        plan.problem(
            "tune.method",
            f"{method.name} cannot make a model from nothing. Use `method: pretrain`, or name a"
            " model to start from.",
        )


def _check_win_rate(wanted: list[str], built: Built, plan: Plan) -> None:
    place = "evaluate.win_rate"
    if not {"tune", "align"} & set(wanted):
        plan.problem(place, "nobody competes: it needs a `tune` or an `align` stage.")
    if "collect" not in wanted:
        plan.problem(
            place,
            "who judges the contest is said by `collect.source`. Add a `collect:` section, or take"
            " win_rate out.",
        )
        return
    source = built.one("collect.source", FeedbackSource)
    if source is not None and type(source).utility is FeedbackSource.utility:
        plan.warn(
            place,
            f"{source.name} does not know what an answer is worth, so the contest has no judge"
            " and no win rate will be measured.",
        )
