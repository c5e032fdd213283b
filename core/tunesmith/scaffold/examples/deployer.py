"""Pack a released model into one file that can be carried elsewhere."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith import Deployer, hookimpl


class Example(Deployer):
    """Write the bundle as one ZIP file, replacing what stood there in one step."""

    name = "example"
    path: Path = Field(examples=[Path("model.zip")])
    """The file; the folder above it must exist."""

    def problems(self) -> list[str]:
        """Refuse a place that does not exist before anything runs."""
        above = self.path.expanduser().absolute().parent
        return [] if above.is_dir() else [f"{self.name}.path: {above} does not exist."]

    def deploy(self, bundle: Path) -> dict[str, Any]:
        """Return ``{"path": ..., "bytes": ...}``."""
        target = self.path.expanduser().absolute()
        fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
        with zipfile.ZipFile(fresh, "w") as packed:
            for path in sorted(one for one in bundle.rglob("*") if one.is_file()):
                packed.write(path, path.relative_to(bundle))
        fresh.replace(target)
        return {"path": str(target), "bytes": target.stat().st_size}


@hookimpl
def register_deployers() -> list[type[Deployer]]:
    """Offer the deployer."""
    return [Example]
