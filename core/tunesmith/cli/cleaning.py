"""What `tunesmith gc` finds and deletes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from tunesmith import settings
from tunesmith.cli.screen import say, size, table
from tunesmith.errors import ConfigError
from tunesmith.store import Store, garbage, queries


@dataclass(frozen=True, slots=True)
class Waste:
    """A folder that nothing needs; ``size`` in bytes."""

    what: str
    kind: str
    size: int
    path: Path | None = None
    """The folder, for checkpoints; artifacts are deleted by the store."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {key: value for key, value in asdict(self).items() if key != "path"}


def waste(store: Store, *, unfinished: bool) -> list[Waste]:
    """Return the artifacts and checkpoints that may go."""
    artifacts = garbage.unreferenced(store, keep_unfinished=not unfinished)
    return [Waste(one.id, one.kind, one.size) for one in artifacts] + list(
        _checkpoints(store, unfinished)
    )


def _checkpoints(store: Store, unfinished: bool) -> Iterator[Waste]:
    """Yield the work folders of keys that no run will go on with."""
    keep = ("RUNNING", "WAITING") if unfinished else tuple(_OPEN)
    wanted = {
        stage.key
        for run in queries.runs(store, limit=100_000)
        if run.status in keep
        for stage in queries.stages(store, run.id)
    }
    root = settings.home().work
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir() and folder.name not in wanted:
            total = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            yield Waste(folder.name[:16], "checkpoints", total, folder)


_OPEN = ("RUNNING", "WAITING", "STOPPED", "FAILED", "CRASHED")


def clean(store: Store, *, unfinished: bool) -> list[Waste]:
    """Delete it, and return what went."""
    checkpoints = list(_checkpoints(store, unfinished))
    gone = garbage.gc(store, dry_run=False, keep_unfinished=not unfinished)
    for one in checkpoints:
        if one.path is not None:
            shutil.rmtree(one.path)
    return [Waste(one.id, one.kind, one.size) for one in gone] + checkpoints


def confirmed(found: Sequence[Waste], *, as_json: bool) -> bool:
    """Ask before deleting; ConfigError where nobody can answer."""
    if as_json or not sys.stdin.isatty():
        raise ConfigError("Nobody can be asked here. Add --yes to delete, or --dry-run to look.")
    total = size(sum(one.size for one in found))
    return typer.confirm(f"Delete {len(found)} folders, {total}?")


def show(found: Sequence[Waste]) -> None:
    """Write what would go, the largest first."""
    rows = sorted(found, key=lambda one: -one.size)
    table(("what", "kind", "size"), [(one.what, one.kind, size(one.size)) for one in rows])


def tell(found: Sequence[Waste], *, dry_run: bool) -> None:
    """Write what came of it."""
    total = size(sum(one.size for one in found))
    if not found:
        say("Nothing to delete.")
    elif dry_run:
        show(found)
        say(f"{len(found)} folders, {total}, may be deleted with `tunesmith gc`.")
    else:
        say(f"Deleted {len(found)} folders, {total}.")
