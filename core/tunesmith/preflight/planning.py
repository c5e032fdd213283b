"""Check a config, then walk its stages and see which of them are already done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tunesmith import stages
from tunesmith.config import Lifecycle
from tunesmith.errors import TunesmithError
from tunesmith.preflight import data_rows, engines, machine, order, outline, servers, settings_fit
from tunesmith.preflight.built import Built, build_all
from tunesmith.preflight.model_fits import check_model, check_techniques_fit
from tunesmith.preflight.outcome import Plan, PlannedStage
from tunesmith.saved_prompts import settled, used
from tunesmith.stagekeys import stage_key
from tunesmith.techniques import FeedbackSource

if TYPE_CHECKING:
    from tunesmith.store import Store


def plan(config: Lifecycle, store: Store, until: str | None = None) -> Plan:
    """Check everything that can be known beforehand; never raises for a config that is wrong.

    Raises ConfigError only for an ``until`` that is no stage of this config.
    """
    wanted = [stage.name for stage in stages.planned(config, until)]
    found = Plan(config.name, config.model)
    config = _with_prompts(config, store, found)
    built = build_all(config, wanted, found)
    order.check(config, wanted, built, found)
    facts = check_model(config, wanted, built, found)
    config = engines.settle(config, wanted, built, facts, found)
    settings_fit.check(config, wanted, built, found)
    check_techniques_fit(config, wanted, built, facts, found)
    sample = data_rows.peek(config, built, found) if "prepare" in wanted else None
    if sample is not None:
        data_rows.check(config, wanted, built, sample, facts, found)
    found.stages = list(walk(config, store, wanted, built))
    pending = [one.stage for one in found.stages if one.status != "cached"]
    servers.check(pending, built, found)
    machine.check(config, pending, built, facts, found)
    return found


def _with_prompts(config: Lifecycle, store: Store, found: Plan) -> Lifecycle:
    """Return the config with its saved prompts resolved, and say which versions they are."""
    try:
        config = settled(config, store)
    except TunesmithError as error:
        found.problem("evaluate.tasks", str(error))
        return config
    found.facts["prompts"] = used(config.model_dump(mode="json"))
    return config


def walk(
    config: Lifecycle, store: Store, wanted: list[str], built: Built
) -> Iterator[PlannedStage]:
    """Yield every stage's fate; a stage after one that must run has to run too."""
    from tunesmith.store import ledger

    past = outline.past_seconds(store, config.name)
    made: dict[str, str | None] = {}
    for stage in wanted:
        doing = outline.describe(config, stage)
        try:
            needs = {name: made[name] for name in stages.inputs(stage, config, made)}
            key = _key(config, stage, needs)
            artifact = ledger.lookup(store, key) if key else None
        except (TunesmithError, OSError) as error:
            made[stage] = None
            yield PlannedStage(stage, "blocked", doing, why=_first_line(error))
            continue
        made[stage] = artifact
        if artifact:
            yield PlannedStage(stage, "cached", doing, "nothing changed", key, artifact)
            continue
        why = _why(needs)
        status = "waits" if _waits(stage, built) else "runs"
        yield PlannedStage(stage, status, doing, why, key, seconds=past.get(stage))


def _key(config: Lifecycle, stage: str, needs: Mapping[str, str | None]) -> str | None:
    """Return the key, or None while an input has still to be made."""
    known = {name: artifact for name, artifact in needs.items() if artifact is not None}
    return stage_key(config, stage, known) if len(known) == len(needs) else None


def _why(needs: Mapping[str, str | None]) -> str:
    missing = [name for name, artifact in needs.items() if artifact is None]
    return f"after {', '.join(missing)}" if missing else "new or changed"


def _waits(stage: str, built: Built) -> bool:
    source = built.one("collect.source", FeedbackSource)
    return stage == "collect" and source is not None and source.waits


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
