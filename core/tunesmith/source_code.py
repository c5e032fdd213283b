"""What a technique's or a stage's behaviour hangs on: its file and the modules it is made from.

An editable install's version never changes, so caches look at the source. Files are read and never
run: the modules are found from the import statements, those inside functions included.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

CONTRACT = frozenset(
    f"tunesmith{name}"
    for name in (
        *("", ".errors", ".hookspecs", ".plugin_host", ".plugins"),
        *(".records", ".settings", ".source_code", ".techniques"),
    )
)
"""Modules that every technique imports and none computes with."""
PLUMBING = ("store", "config", "configfile", "places", "stages", "stagekeys", "preflight", "report")
"""Modules of Tunesmith that carry results about and never change one."""
STAGE_PLUMBING = ("staging", "tasks", "desk", "journey", "progress", "summary", "server", "launch")
"""The same among the modules beside the stages."""


@lru_cache(maxsize=512)
def digest(module: str) -> str:
    """Return a sha256 over a module and what it imports from its own package and from tunesmith."""
    hasher = hashlib.sha256()
    for name, path in sorted(closure(module).items()):
        hasher.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return hasher.hexdigest()


def stage_digest(stage: str) -> str:
    """Return a sha256 over the module that works a stage; an empty string where there is none.

    Core never imports the flows: their package is the one that offers ``run``.
    """
    module = f"{_stage_package()}.{stage}"
    return digest(module) if _stage_package() and file_of(module) else ""


@lru_cache(maxsize=1)
def _stage_package() -> str:
    offers = [one for one in entry_points(group="tunesmith.apps") if one.name == "run"]
    return offers[0].module.partition(".")[0] if offers else ""


def text_digest(source: str) -> str:
    """Return a sha256 of source that is in no file, such as a class made in a session."""
    return hashlib.sha256(source.encode()).hexdigest()


def closure(module: str) -> dict[str, Path]:
    """Return module name -> file, for the module and everything of ours that it is made from."""
    packages = {module.partition(".")[0], "tunesmith"}
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = None if name in found or _carries(name) else file_of(name)
        if path is None:
            continue
        found[name] = path
        waiting += [one for one in _imports(name, path) if one.partition(".")[0] in packages]
    return found


def _carries(module: str) -> bool:
    """Say whether a module only carries results about."""
    package, _, rest = module.partition(".")
    leaf = rest.partition(".")[0]
    if package == "tunesmith":
        return module in CONTRACT or leaf in PLUMBING
    return package == _stage_package() and leaf in STAGE_PLUMBING


@lru_cache(maxsize=2048)
def file_of(module: str) -> Path | None:
    """Return a module's source file, without running it; None for what has none."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return Path(loaded) if loaded.endswith(".py") else None
    parent, _, leaf = module.rpartition(".")
    if not parent:
        spec = importlib.util.find_spec(module)
        return Path(spec.origin) if spec and spec.origin and spec.has_location else None
    above = file_of(parent)
    if above is None or above.name != "__init__.py":
        return None
    for path in (above.parent / f"{leaf}.py", above.parent / leaf / "__init__.py"):
        if path.is_file():
            return path
    return None


@lru_cache(maxsize=2048)
def _imports(module: str, path: Path) -> tuple[str, ...]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(_named(ast.parse(path.read_bytes()), package))


def _named(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield every module that import statements may mean; ``from a import b`` means a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            origin = ".".join([*above, node.module or ""]).strip(".")
            start = origin if node.level else str(node.module)
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)
