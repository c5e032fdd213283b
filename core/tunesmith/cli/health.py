"""Whether this installation can work, and what a bug report needs to know of it."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tunesmith import plugins, settings
from tunesmith.cli.screen import console, size
from tunesmith.errors import TunesmithError
from tunesmith.techniques import Engine

PACKAGES = (
    "tunesmith", "torch", "transformers", "tokenizers", "safetensors", "peft", "trl", "xllamacpp",
    "gguf", "prefect", "streamlit", "sqlalchemy", "alembic", "pydantic", "pluggy", "typer", "numpy",
)  # fmt: skip
MARKS = {"good": "[green]ok[/]", "doubtful": "[yellow]??[/]", "broken": "[red]no[/]"}
LITTLE_DISK = 2_000_000_000
LITTLE_MEMORY = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: ``good``, ``doubtful`` or ``broken``."""

    what: str
    state: str
    found: str

    def as_json(self) -> dict[str, str]:
        """Return it as JSON."""
        return asdict(self)


def checks() -> list[Check]:
    """Return every check, in the order in which they should be put right."""
    return [
        _python(),
        *_packages(),
        _home(),
        _database(),
        *_machine(),
        *_engines(),
        *_plugins(),
    ]


def show(found: list[Check]) -> None:
    """Write one line per check."""
    screen = console()
    for check in found:
        screen.print(f"{MARKS[check.state]} {check.what}: ", end="")
        screen.print(check.found, markup=False, soft_wrap=True)


def _python() -> Check:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    wanted = "" if good else "; Tunesmith needs 3.11 or newer"
    return Check("python", "good" if good else "broken", f"{version}{wanted}")


def _packages() -> Iterator[Check]:
    missing = [name for name in PACKAGES if _version(name) is None]
    if missing:
        yield Check(
            "packages",
            "broken",
            f"not installed: {', '.join(missing)}. `pip install --upgrade tunesmith`.",
        )
    else:
        shown = ", ".join(f"{name} {_version(name)}" for name in PACKAGES[:4])
        yield Check("packages", "good", f"{shown}, and {len(PACKAGES) - 4} more")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _home() -> Check:
    try:
        place = settings.home().prepare()
    except TunesmithError as error:
        return Check("home", "broken", str(error))
    return Check("home", "good", str(place.path))


def database() -> dict[str, Any]:
    """Return where the database is, its revision, its journal, and what is wrong with it."""
    from tunesmith.store import schema
    from tunesmith.store.database import database_url, journal_mode, make_engine

    known: dict[str, Any] = {"place": None, "revision": None, "wanted": schema.REVISIONS[-1]}
    try:
        url = database_url(settings.home())
        known["place"] = url.render_as_string()
        known["journal"] = _journal(journal_mode) if known["place"].startswith("sqlite") else None
        if known["journal"] and not Path(str(url.database)).exists():
            return known | {"problem": None, "note": "not made yet; the first run makes it"}
        with make_engine(url, writes=False).connect() as connection:
            known["revision"] = schema.stored_revision(connection)
        schema.refuse_other_revision(known["revision"] or known["wanted"], known["place"])
    except TunesmithError as error:
        return known | {"problem": str(error)}
    except Exception as error:  # noqa: BLE001  drivers raise their own; the doctor reports them
        return known | {"problem": str(error).splitlines()[0]}
    return known | {"problem": None}


def _journal(mode: Any) -> str:
    """Say which journal SQLite gets, and why."""
    version = sqlite3.sqlite_version
    if mode() == "wal":
        return f"wal (SQLite {version})"
    return f"delete (SQLite {version} may lose commits with wal)"


def _database() -> Check:
    found = database()
    if found["problem"]:
        return Check("database", "broken", found["problem"])
    journal = f", journal {found['journal']}" if found.get("journal") else ""
    revision = found["revision"] or found.get("note", "empty")
    return Check("database", "good", f"{found['place']} at {revision}{journal}")


def _machine() -> Iterator[Check]:
    from tunesmith.preflight.machine import available_memory, free_disk, total_memory

    free = free_disk(settings.home().path)
    yield Check("disk", "good" if free > LITTLE_DISK else "doubtful", f"{size(free)} free")
    total, now = total_memory(), available_memory()
    state = "good" if now > LITTLE_MEMORY else "doubtful"
    yield Check("memory", state, f"{size(now)} of {size(total)} free")
    yield Check("cores", "good", str(len(os.sched_getaffinity(0)) if _linux() else os.cpu_count()))


def _linux() -> bool:
    return hasattr(os, "sched_getaffinity")


def _engines() -> Iterator[Check]:
    import importlib.util

    for name, engine in plugins.host().available(Engine).items():
        missing = [module for module in engine.needs if importlib.util.find_spec(module) is None]
        state = "doubtful" if missing else "good"
        found = f"needs {', '.join(missing)}" if missing else "available"
        yield Check(f"engine {name}", state, found)


def _plugins() -> Iterator[Check]:
    host = plugins.host()
    yield Check("plugins", "good", f"{len(host.distributions)} loaded")
    for broken in host.broken:
        text = f"{broken.error}; `tunesmith plugins doctor` shows the traceback"
        yield Check(f"plugin {broken.plugin}", "doubtful", text)
    for key in host.conflicts:
        yield Check(f"plugins {'/'.join(key)}", "doubtful", host.conflict(*key))


def environment() -> dict[str, Any]:
    """Return versions, machine and plugins; paths without the user's name, no values of secrets."""
    from tunesmith.preflight.machine import total_memory

    host = plugins.host()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory": size(total_memory()),
        "disk": size(shutil.disk_usage(Path.home()).free) + " free",
        "sqlite": sqlite3.sqlite_version,
        "home": _without_name(settings.home().path),
        "packages": {name: _version(name) or "absent" for name in PACKAGES},
        "plugins": sorted(
            f"{where.plugin} ({where.distribution} {where.version})"
            for where in host.distributions.values()
            if where.distribution != "tunesmith"
        ),
        "broken": [f"{one.plugin}: {one.error}" for one in host.broken],
        "disabled": host.disabled,
        # The names alone: a database URL holds a password.
        "variables": sorted(name for name in os.environ if name.startswith("TUNESMITH_")),
    }


def _without_name(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the facts as text to paste."""
    for key, value in facts.items():
        if isinstance(value, dict):
            yield f"{key}: " + ", ".join(f"{name} {version}" for name, version in value.items())
        elif isinstance(value, list):
            yield f"{key}: {', '.join(map(str, value)) or 'none'}"
        else:
            yield f"{key}: {value}"
