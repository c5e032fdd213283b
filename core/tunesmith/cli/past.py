"""Runs and stages as rows for people and as facts for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tunesmith.cli.screen import ago, say, table
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.saved_prompts import used
from tunesmith.store.queries import RunDetail, RunRow, StageRow

STATUSES = ("RUNNING", "WAITING", "COMPLETED", "FAILED", "STOPPED", "CRASHED")


def checked_status(status: str | None) -> str | None:
    """Return the status as it is stored; ConfigError when there is none such."""
    if status is None or status.upper() in STATUSES:
        return status and status.upper()
    hint = did_you_mean(status.upper(), STATUSES)
    raise ConfigError(f"There is no status {status!r}.{hint} Statuses: {', '.join(STATUSES)}.")


def run_facts(row: RunRow) -> dict[str, Any]:
    """Return a run as JSON."""
    return asdict(row) | {"seconds": row.seconds}


def whole_run(run: RunDetail, stages: Sequence[StageRow]) -> dict[str, Any]:
    """Return a run with its stages as JSON."""
    return run_facts(run) | {"stages": [asdict(one) | {"seconds": one.seconds} for one in stages]}


def show_runs(rows: Sequence[RunRow]) -> None:
    """Write one line per run."""
    table(
        ("run", "status", "began", "took", "why"),
        [(row.id, row.status, _when(row), ago(row.seconds), _short(row.reason)) for row in rows],
    )


def show_run(run: RunDetail, stages: Sequence[StageRow]) -> None:
    """Write a run and one line per stage."""
    say(f"{run.id}  {run.status}  began {_when(run)}, took {ago(run.seconds)}")
    say(f"model {run.config.get('model')}  seed {run.config.get('seed')}")
    for task, ref in used(run.config):
        say(f"{task} is asked with the saved prompt {ref}")
    if run.reason:
        say(run.reason)
    table(
        ("stage", "status", "took", "artifact", "why"),
        [
            (
                one.stage,
                one.status,
                "cached" if one.cached else ago(one.seconds),
                one.artifact_id or "",
                _short(one.reason),
            )
            for one in stages
        ],
    )
    if run.status in ("WAITING", "STOPPED", "FAILED", "CRASHED"):
        say(f"Go on with: tunesmith resume {run.id}")


def _when(row: RunRow) -> str:
    return f"{row.created_at.astimezone():%Y-%m-%d %H:%M}"


def _short(text: str | None, longest: int = 60) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
