"""Distributions of one module, laid out as pip would, for tests of what plugins may do."""

import importlib
import sys
import textwrap
from importlib.metadata import distributions
from pathlib import Path

from tunesmith import plugins


def offer(site: Path, source: str, name: str = "mine", dist: str | None = None) -> str:
    """Install a plugin called ``name`` into a site folder; return its module's name."""
    dist = dist or f"tunesmith-{name}"
    module = f"tsp_{dist.replace('-', '_')}"
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(textwrap.dedent(source))
    info = site / f"{dist.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[tunesmith]\n{name} = {module}\n")
    sys.modules.pop(module, None)
    importlib.invalidate_caches()  # the folder may be younger than its place on the path
    return module


def host_of(site: Path) -> plugins.Host:
    """Load what is installed in a folder, and the built-ins."""
    found = [entry for d in distributions(path=[str(site)]) for entry in d.entry_points]
    own = [entry for entry in plugins.installed() if entry.dist.name == "tunesmith"]
    return plugins.load([*found, *own], set())
