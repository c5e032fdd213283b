"""A folder: everything a server needs, copied to one place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tunesmith import Deployer, hookimpl


class Folder(Deployer):
    """Copy the released model to a folder, replacing what stood there in one step."""

    name = "folder"
    path: Path
    """Where the model goes; the folder above it must exist."""

    def problems(self) -> list[str]:
        """Refuse a place that cannot be written to before anything runs."""
        above = self.path.expanduser().absolute().parent
        if not above.is_dir():
            return [f"folder.path: {above} does not exist; create it first."]
        return [] if os.access(above, os.W_OK) else [f"folder.path: {above} is not writable."]

    def deploy(self, bundle: Path) -> dict[str, Any]:
        """Return ``{"path": ..., "replaced": bool}``; a reader sees the old or the new, whole."""
        target = self.path.expanduser().absolute()
        fresh = target.with_name(f".{target.name}.new")
        old = target.with_name(f".{target.name}.old")
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(bundle, fresh)
        replaced = target.exists()
        if replaced:
            target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        return {"path": str(target), "replaced": replaced}


@hookimpl
def register_deployers() -> list[type[Deployer]]:
    """Offer the technique."""
    return [Folder]
