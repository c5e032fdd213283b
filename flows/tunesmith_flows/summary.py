"""The numbers a run ends with, on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tunesmith.store import Artifact
from tunesmith_flows.desk import Desk

Numbers = list[dict[str, Any]]


def show(console: Console, desk: Desk, report: dict[str, Any]) -> None:
    """Print how a run ended, its numbers, and what to do next."""
    made = {stage: desk.store.artifacts.get(one) for stage, one in report["artifacts"].items()}
    for line in [*_feedback(made), *_reward(made)]:
        console.print(line, markup=False, highlight=False)
    if "evaluate" in made:
        _evaluation(console, made["evaluate"].path)
    console.print(ending(report), markup=False, highlight=False, soft_wrap=True)


def ending(report: dict[str, Any]) -> str:
    """Return the last line: the status, and the command that comes next."""
    run, status = report["run"], report["status"]
    if status == "COMPLETED":
        return f"{run} is complete. `tunesmith report {run}` writes the report."
    if status == "WAITING":
        return f"{run} waits: {report['reason']}"
    return f"{run} is stopped: {report['reason']} `tunesmith resume {run}` goes on."


def _feedback(made: dict[str, Artifact]) -> Iterable[str]:
    found = made["collect"].metrics if "collect" in made else None
    if found and found["simulated"]:
        yield (
            f"Feedback is SIMULATED: {found['labels']} labels by {len(found['annotators'])}"
            " made-up annotators; no person was asked."
        )


def _reward(made: dict[str, Artifact]) -> Iterable[str]:
    found = made["reward"].metrics if "reward" in made else None
    if found:
        passed = "passed" if found["passed"] else "did NOT pass"
        yield f"The reward model {passed} its gate: {found['verdict']}"


def _evaluation(console: Console, folder: Path) -> None:
    measurements: Numbers = json.loads((folder / "measurements.json").read_text("utf-8"))
    verdicts: Numbers = json.loads((folder / "verdicts.json").read_text("utf-8"))
    console.print(_scores(measurements))
    for verdict in verdicts:
        mark = "passed" if verdict["passed"] else "FAILED"
        console.print(f"gate {mark}: {verdict['gate']}: {verdict['reason']}", markup=False)


def _scores(measurements: Numbers) -> Table:
    """Return one row per number and one column per model, each with its 95 % interval."""
    alone = [m for m in measurements if m["baseline"] is None]
    models = list(dict.fromkeys(m["model"] for m in _in_order(alone)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for model in models:
        table.add_column(model, justify="right")
    for name in dict.fromkeys(m["name"] for m in alone):
        cells = {m["model"]: _cell(m) for m in alone if m["name"] == name}
        table.add_row(name, *(cells.get(model, "") for model in models))
    return table


def _in_order(measurements: Numbers) -> Numbers:
    """Models in the order they were made: the footprints are listed so."""
    sized = [m for m in measurements if m["name"] == "bytes"]
    return sized + measurements


def _cell(m: dict[str, Any]) -> str:
    if m["unit"] == "share":
        return f"{100 * m['value']:.1f} % [{100 * m['low']:.1f}, {100 * m['high']:.1f}]"
    if m["unit"] == "bytes":
        return f"{m['value'] / 1e6:.2f} MB"
    if m["low"] == m["high"]:
        return f"{m['value']:.4g}"
    return f"{m['value']:.4g} [{m['low']:.4g}, {m['high']:.4g}]"
