"""The rows that prompts are made from: items to ask, and solved ones to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tunesmith import plugins, yamltext
from tunesmith.cli.starting import source_for
from tunesmith.config import Lifecycle, load_config, named
from tunesmith.errors import ConfigError, DataError, did_you_mean
from tunesmith.records import Row
from tunesmith.splits import filtered, split_rows
from tunesmith.stagekeys import stage_seed
from tunesmith.techniques import DatasetFilter, DatasetSource, Task

NANO = {"name": "nano"}
"""The source that is asked when nobody names data."""
SHARES = {"test": 0.5}
"""How a file of rows that name no split is divided: half is asked, half may be shown."""


@dataclass(frozen=True, slots=True)
class Items:
    """The rows of one task: those of the split ``test``, and those of ``train`` to show."""

    asked: list[Row]
    shots: list[Row]

    def drawn(self, count: int, seed: int) -> list[Row]:
        """Return up to ``count`` items, drawn by seed."""
        whole = len(self.asked) <= count
        return self.asked if whole else Random(seed).sample(self.asked, count)

    def one(self, name: str | None) -> Row:
        """Return the item with an id, by default the first; DataError names the nearest."""
        known = {str(row["id"]): row for row in self.asked}
        if name is None:
            return self.asked[0]
        if name not in known:
            first = ", ".join(list(known)[:3])
            raise DataError(
                f"No test item has the id {name!r}.{did_you_mean(name, known)}"
                f" There are {len(known)}, e.g. {first}."
            )
        return known[name]


def is_config(path: Path | str) -> bool:
    """Say whether a path names a lifecycle rather than a file of rows or a task."""
    return Path(path).suffix.lower() in (".yaml", ".yml")


def items_of(task: Task, data: Path | None, overrides: Sequence[str] = ()) -> Items:
    """Return the rows of a task: of a lifecycle's sources, of a file, or of the nano world.

    A lifecycle's rows are split as its run splits them, so that both ask the same items.
    """
    if data is not None and is_config(data):
        splits = _of_config(load_config(data, overrides))
    else:
        source = NANO if data is None else source_for(data)
        splits = split_rows(_named_task(_source(source).rows(), task.name), SHARES, 0)
    asked, shots = (
        [row for row in splits[split] if row.get("task") == task.name]
        for split in ("test", "train")
    )
    if not asked:
        raise DataError(_nothing(task, data, splits))
    return Items(asked, shots)


def _of_config(config: Lifecycle) -> dict[str, list[Row]]:
    if config.data is None:
        raise ConfigError(f"{config.name} has no `data:` section, so there are no rows to ask.")
    filters = [plugins.build(DatasetFilter, spec) for spec in config.data.filters]
    rows = (row for spec in config.data.sources for row in _source(spec).rows())
    shares = {str(name): share for name, share in config.data.split.items()}
    return split_rows(filtered(rows, filters)[0], shares, stage_seed(config.seed, "prepare"))


def _source(spec: dict[str, Any]) -> DatasetSource:
    return plugins.build(DatasetSource, spec)


def _named_task(rows: Iterator[Row], task: str) -> Iterator[Row]:
    """Take a row that names no task for one of the task that was asked for."""
    return (row if "task" in row else {**row, "task": task} for row in rows)


def _nothing(task: Task, data: Path | None, splits: dict[str, list[Row]]) -> str:
    rows = [row for found in splits.values() for row in found]
    known = sorted({str(row.get("task", "none")) for row in rows})
    where = data or "the nano world"
    return (
        f"{where} has no test row of {task.name} among its {len(rows)} rows. Tasks there:"
        f" {', '.join(known) or 'none'}. Name a file or a lifecycle that has some with --data."
    )


def techniques(text: str, option: str) -> list[dict[str, Any]]:
    """Return what an option lists: ``zero_shot, {name: few_shot, shots: 2}``."""
    found = [named(one) for one in yamltext.scalar(f"[{text}]", option)]
    wrong = [one for one in found if not isinstance(one, dict)]
    if wrong or not found:
        raise ConfigError(
            f"{option} lists names, or names with options as {{name: few_shot, shots: 2}};"
            f" got {text!r}."
        )
    return found


def technique(text: str, option: str) -> dict[str, Any]:
    """Return the one technique an option names; ConfigError for several."""
    found = techniques(text, option)
    if len(found) != 1:
        raise ConfigError(f"{option} takes one name, and {text!r} holds {len(found)}.")
    return found[0]
