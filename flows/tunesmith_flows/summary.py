"""The numbers a run ends with, on the terminal: the same ones as in its report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from tunesmith_flows.desk import Desk

Numbers = list[dict[str, Any]]


def show(console: Console, desk: Desk, report: dict[str, Any]) -> None:
    """Print what a run found out, how it ended, and what to do next."""
    from tunesmith.report import summary

    found = summary(desk.store, desk.run_id)
    if found.get("scores"):
        console.print()
        console.print(_table(found))
        console.print()
    for line in [*_lines(found), ending(report)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def ending(report: dict[str, Any]) -> str:
    """Return the last line: the status, and the command that comes next."""
    run, status = report["run"], report["status"]
    if status == "COMPLETED":
        return f"{run} is complete. `tunesmith report {run}` writes the report."
    if status == "WAITING":
        return f"{run} waits: {report['reason']}"
    return f"{run} is stopped. {report['reason']} `tunesmith resume {run}` goes on."


def _lines(found: dict[str, Any]) -> Iterable[str]:
    if found["simulated"]:
        yield "The feedback is SIMULATED: made-up annotators, no person was asked."
    if found["by_model"]:
        yield "The feedback is BY A MODEL: a language model judged, no person was asked."
    if found.get("gates") or found.get("reward"):
        yield from found["headlines"]
    for gate in found.get("gates", ()):
        mark = "passed" if gate["passed"] else "FAILED"
        yield f"  gate {mark}: {gate['gate']}: {gate['reason']}"


def _table(found: dict[str, Any]) -> Table:
    """Return one row per number and one column per model, shares with their 95 % interval."""
    models = [one["model"] for one in found["sizes"]] or _seen(found["scores"], "model")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("share right, 95 % interval", overflow="fold")
    for model in models:
        table.add_column(model, justify="right", overflow="fold")
    for name, cells in _rows(found):
        table.add_row(name, *(cells.get(model, "") for model in models))
    return table


def _rows(found: dict[str, Any]) -> Iterable[tuple[str, dict[str, str]]]:
    scores: Numbers = found["scores"]
    for exam in dict.fromkeys((one["task"], one["style"]) for one in scores):
        own = [one for one in scores if (one["task"], one["style"]) == exam]
        task = exam[0].partition(":")[0]
        name = task if exam[1] == "zero_shot" else f"{task}, {exam[1]}"
        yield name.replace("_", " "), {one["model"]: _share(one) for one in own}
    for one in found["win_rates"]:
        yield f"win rate against {one['baseline']}", {one["model"]: _share(one)}
    yield "size", {one["model"]: f"{one['bytes'] / 1e6:.2f} MB" for one in found["sizes"]}
    speeds = {one["model"]: one.get("tokens_per_second") for one in found["sizes"]}
    yield "tokens per second", {model: f"{speed:,.0f}" for model, speed in speeds.items() if speed}


def _seen(numbers: Numbers, key: str) -> list[str]:
    return list(dict.fromkeys(one[key] for one in numbers))


def _share(one: dict[str, Any]) -> str:
    if one["value"] is None:
        return "not measurable"
    return f"{100 * one['value']:.1f} % [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"
