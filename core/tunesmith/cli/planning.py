"""A plan as people read it."""

from __future__ import annotations

from rich.text import Text

from tunesmith.cli.screen import ago, console, say, size
from tunesmith.preflight import Plan, PlannedStage

STYLES = {"cached": "green", "runs": "cyan", "waits": "yellow", "blocked": "red"}


def show(plan: Plan) -> None:
    """Write the stages, then what to know, then what is wrong."""
    say(f"{plan.name}  {_model(plan)}")
    _show_stages(plan)
    for task, ref in plan.facts.get("prompts", ()):
        say(f"{task} is asked with the saved prompt {ref}.")
    for path, spec in plan.chosen.items():
        say(f"{path}: {spec['name']}, the fastest here (`tunesmith engines list` has the figures).")
    say(_estimate(plan))
    screen = console()
    for warning in plan.warnings:
        screen.print(Text(f"note: {warning}", style="yellow"), soft_wrap=True)
    for problem in plan.problems:
        screen.print(Text(f"problem: {problem}", style="red"), soft_wrap=True)
    if plan.problems:
        count = len(plan.problems)
        say(f"{count} problem{'s' if count > 1 else ''} to put right before it can run.")
    else:
        say("Ready to run.")


def _model(plan: Plan) -> str:
    facts = plan.facts.get("model")
    if not facts:
        return f"model {plan.model}"
    millions = facts["parameters"] / 1e6
    return f"model {plan.model} ({facts['architecture']}, {millions:,.1f} M parameters)"


def _show_stages(plan: Plan) -> None:
    from rich.table import Table

    made = Table("stage", "", "with", "why", "took before", box=None, pad_edge=False)
    for column in made.columns:
        column.overflow = "fold"
    for one in plan.stages:
        status = Text(_status(one), style=STYLES[one.status])
        made.add_row(one.stage, status, Text(one.doing), Text(_why(one)), _took(one))
    console().print(made)


def _status(one: PlannedStage) -> str:
    return "waits for people" if one.status == "waits" else one.status


def _why(one: PlannedStage) -> str:
    return one.artifact or one.why


def _took(one: PlannedStage) -> str:
    if one.status == "cached":
        return ""
    return "no estimate yet" if one.seconds is None else ago(one.seconds)


def _estimate(plan: Plan) -> str:
    pending = [one for one in plan.stages if one.status != "cached"]
    if not pending:
        return "Everything is cached; nothing has to run."
    took = "no estimate of the time yet" if plan.seconds is None else f"about {ago(plan.seconds)}"
    facts = plan.facts
    return (
        f"{len(pending)} of {len(plan.stages)} stages to run, {took};"
        f" up to {size(facts['memory_needed'])} of {size(facts['memory_total'])} memory,"
        f" {size(facts['disk_needed'])} of {size(facts['disk_free'])} free disk."
    )
