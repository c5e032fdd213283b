"""The file that `tunesmith init` writes."""

from __future__ import annotations

import re
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith import plugins
from tunesmith.errors import ConfigError
from tunesmith.records import Row
from tunesmith.rows import type_of
from tunesmith.techniques import DatasetSource

NAMES = ("lifecycle.yaml",)
SOURCES = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".csv": "table",
    ".tsv": "table",
    ".txt": "plain_text",
}
"""Which source reads a file, by its ending."""
TEMPLATES = {
    None: "nano",
    "prompt-completion": "instructions",
    "language-modelling": "documents",
    "preference": "instructions",
}
"""Which template suits a type of rows."""


def write_start(folder: Path, model: str, data: Path | None, *, force: bool) -> Path:
    """Write a commented lifecycle.yaml; ConfigError rather than replacing one."""
    path = folder / NAMES[0]
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already. Choose another folder, or add --force.")
    kind = None if data is None else _kind(data)
    template = resources.files("tunesmith.cli") / "templates" / f"{TEMPLATES[kind]}.yaml"
    text = template.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    values = {"NAME": _name(folder), "MODEL": _from(folder, model)}
    if data is not None:
        values |= {"SOURCE": SOURCES[_ending(data)], "PATH": str(data.absolute())}
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    path.write_text(text, encoding="utf-8")
    return path


def source_for(data: Path) -> dict[str, Any]:
    """Return the spec of the source that reads a file."""
    return {"name": SOURCES[_ending(data)], "path": str(data)}


def _ending(data: Path) -> str:
    name = data.name.removesuffix(".gz")
    ending = Path(name).suffix.lower()
    if ending not in SOURCES:
        raise ConfigError(
            f"{data}: no source reads {ending or 'a file without an ending'}."
            f" These are read: {', '.join(SOURCES)}. `tunesmith plugins list DatasetSource`."
        )
    return ending


def _kind(data: Path) -> str:
    """Return the type of the rows in a file; DataError says what is wrong with them."""
    source = plugins.build(DatasetSource, source_for(data))
    if problems := source.problems():
        raise ConfigError(problems[0])
    first: Row = next(islice(source.rows(), 1))
    kind = type_of(first)
    if kind not in TEMPLATES or kind is None:
        raise ConfigError(
            f"{data} holds {kind or 'unknown'} rows, and no template begins with those."
            " Start with rows that have a prompt and a completion, or a text."
        )
    return kind


def _name(folder: Path) -> str:
    """Return a name for the runs, made from the folder's."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")
    return plain[:64] or "lifecycle"


def _from(folder: Path, model: str) -> str:
    """Return a model folder as an absolute path, so that the file may lie elsewhere."""
    is_folder = not model.startswith("builtin:") and Path(model).expanduser().is_dir()
    return str(Path(model).expanduser().absolute()) if is_folder else model
