"""From what a user types to the plugins it means."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, packages_distributions

from tunesmith import plugins
from tunesmith.errors import PluginError, did_you_mean
from tunesmith.settings import plain


@dataclass(frozen=True, slots=True)
class Found:
    """A target's plugins, loaded, and the processor time that took."""

    host: plugins.Host
    seconds: float


def entries(target: str) -> list[EntryPoint]:
    """Return the plugins of a distribution, one plugin, or a module that is no plugin yet.

    Raises PluginError with the nearest name when there is no such thing.
    """
    known = plugins.installed()
    found = [one for one in known if one.dist and plain(one.dist.name) == plain(target)]
    found = found or [one for one in known if target in (one.name, one.value)]
    if found or not _is_module(target):
        return found or _nothing(target, known)
    return [EntryPoint(target, target, plugins.GROUP)]


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _nothing(target: str, known: list[EntryPoint]) -> list[EntryPoint]:
    names = sorted({one.name for one in known} | {one.dist.name for one in known if one.dist})
    owners = {plain(name) for names in packages_distributions().values() for name in names}
    if plain(target) in owners:
        raise PluginError(
            f"{target} is installed and offers no plugin: it has no entry point in the group"
            ' `tunesmith`. Add `[project.entry-points.tunesmith]` with `name = "module"` and'
            " install it again."
        )
    raise PluginError(
        f"No installed distribution, plugin or module is named {target!r}."
        f"{did_you_mean(target, names)} Install it first, e.g. `pip install -e .`."
    )


def load(target: str) -> Found:
    """Load a target's plugins and nothing else."""
    chosen = entries(target)
    began = time.process_time()
    with _warnings_kept_quiet():
        host = plugins.load(chosen, set())
    return Found(host, time.process_time() - began)


@contextmanager
def _warnings_kept_quiet() -> Iterator[None]:
    # What is broken becomes part of the report, and need not be logged besides.
    before, plugins.log.disabled = plugins.log.disabled, True
    try:
        yield
    finally:
        plugins.log.disabled = before
