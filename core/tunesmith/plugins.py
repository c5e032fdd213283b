"""Find the installed techniques, and build the one that a config names.

Built-ins and strangers come in by the same door, one at a time: one that raises, exits or misspells
a hook is recorded and skipped with a warning, and the others still work.
"""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
from collections.abc import Iterable
from contextlib import redirect_stdout
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy

from tunesmith import hookspecs, source_code, watchdog
from tunesmith.errors import PluginError, did_you_mean
from tunesmith.plugin_host import Broken, Host, Provenance, explain
from tunesmith.records import Spec
from tunesmith.settings import disabled_plugins, plain
from tunesmith.techniques import FAMILIES, Technique

__all__ = [
    "Broken",
    "Host",
    "Provenance",
    "announce",
    "build",
    "explain",
    "host",
    "installed",
    "load",
    "source_hash",
]

log = logging.getLogger("tunesmith.plugins")
T = TypeVar("T", bound=Technique)
GROUP = "tunesmith"
HEAVY = ("torch", "transformers", "trl", "peft", "pandas", "streamlit", "prefect")
"""Libraries that listing techniques must not import."""


def source_hash(technique: type[Technique]) -> str:
    """Return a hash of a technique's file and of what it imports from its package and Tunesmith."""
    if source_code.file_of(technique.__module__) is None:
        return source_code.text_digest(inspect.getsource(technique))[:16]
    return source_code.digest(technique.__module__)[:16]


def installed() -> list[EntryPoint]:
    """Return every plugin's entry point, by name, without loading any."""
    return sorted(entry_points(group=GROUP), key=_order)


def _order(entry: EntryPoint) -> tuple[str, str]:
    return entry.name, entry.dist.name if entry.dist else ""


def load(entries: list[EntryPoint] | None = None, disabled: set[str] | None = None) -> Host:
    """Load every plugin by itself: one that fails is recorded, and the others still work."""
    manager = pluggy.PluginManager("tunesmith")
    manager.add_hookspecs(hookspecs)
    host = Host(manager)
    off = {plain(name) for name in (disabled_plugins() if disabled is None else disabled)}
    # What a stranger prints while it loads must not end up in a JSON document.
    with redirect_stdout(sys.stderr), watchdog.loading(log.warning) as doing:
        for entry in installed() if entries is None else entries:
            doing[:] = [str(_provenance(entry))]
            if is_off(entry, off):
                host.disabled.append(entry.name)
            else:
                _load_one(host, entry)
        for family in FAMILIES:
            _collect(host, family)
    for family_name, name in host.conflicts:
        log.warning("%s", host.conflict(family_name, name))
    return host


def is_off(entry: EntryPoint, names: Iterable[str]) -> bool:
    """Say whether a plugin is disabled, by its own name or by its distribution's."""
    own = {plain(entry.name)} | ({plain(entry.dist.name)} if entry.dist else set())
    return bool(own & {plain(name) for name in names})


def _provenance(entry: EntryPoint) -> Provenance:
    dist = entry.dist
    return Provenance(entry.name, dist.name if dist else "unknown", dist.version if dist else "0")


def _load_one(host: Host, entry: EntryPoint) -> None:
    where = _provenance(entry)
    before = set(sys.modules)
    try:
        if where.plugin in host.distributions:
            raise PluginError(_taken(host.distributions[where.plugin], where))
        host.manager.register(entry.load(), name=entry.name)
        _check_hooks(host, where)
    # A stranger's module may raise anything, and some call sys.exit().
    except (Exception, SystemExit) as error:  # noqa: BLE001
        if where.plugin not in host.distributions and host.manager.has_plugin(entry.name):
            host.manager.unregister(name=entry.name)
        _mark_broken(host, where, error)
        return
    host.distributions[entry.name] = where
    if heavy := [name for name in HEAVY if name in sys.modules and name not in before]:
        host.heavy[entry.name] = heavy


def _taken(first: Provenance, second: Provenance) -> str:
    return (
        f"another plugin is named {first.plugin!r} too: {first.distribution} has it, and"
        f" {second.distribution} wants it. Rename its entry point, or disable {second.distribution}"
    )


def _check_hooks(host: Host, where: Provenance) -> None:
    """Refuse a plugin whose hooks do not exist, which pluggy alone would ignore silently."""
    specs = [name for name in vars(hookspecs) if name.startswith("register_")]
    specs += [name for name in EVENTS if name not in specs]
    callers = host.manager.get_hookcallers(host.manager.get_plugin(where.plugin)) or []
    for caller in callers:
        if not caller.has_spec():
            hint = did_you_mean(caller.name, specs)
            raise PluginError(f"There is no hook {caller.name!r}.{hint} Hooks: {', '.join(specs)}.")
    if not callers:
        raise PluginError(
            "it implements no hook. Decorate its functions with @tunesmith.hookimpl, for example"
            " `@hookimpl def register_samplers(): return [MySampler]`."
        )


EVENTS = tuple(
    name
    for name, member in vars(hookspecs).items()
    if hasattr(member, "tunesmith_spec") and not name.startswith("register_")
)
"""Hooks that report what happened."""


def _mark_broken(host: Host, where: Provenance, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))
    message = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
    host.broken.append(Broken(where.plugin, where.distribution, message.rstrip("."), trace))
    log.warning("Plugin %s (%s) is skipped: %s", where.plugin, where.distribution, message)


def _collect(host: Host, family: type[Technique]) -> None:
    host.techniques.setdefault(family.family, {})
    for impl in getattr(host.manager.hook, family.hook).get_hookimpls():
        where = host.distributions[impl.plugin_name]
        try:
            offered = _offered(impl.function(), family)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a stranger's hook, as above
            _mark_broken(host, where, error)
            continue
        for technique in offered:
            host.add(technique, where)


def _offered(answer: Any, family: type[Technique]) -> list[type[Technique]]:
    if isinstance(answer, type) or not isinstance(answer, Iterable):
        example = f"[{answer.__name__}]" if isinstance(answer, type) else "[MyTechnique]"
        raise PluginError(
            f"{family.hook} must return a list of {family.family} classes, e.g. {example};"
            f" it returned {answer!r}."
        )
    return [_checked(one, family) for one in answer]


def _checked(technique: Any, family: type[Technique]) -> type[Technique]:
    if not (isinstance(technique, type) and issubclass(technique, family)):
        raise PluginError(f"{family.hook} must return {family.family} classes, got {technique!r}.")
    if not isinstance(technique.name, str) or not technique.name.strip():
        raise PluginError(f'{technique.__name__} has no name; give it `name = "..."`.')
    return technique


@lru_cache(maxsize=1)
def host() -> Host:
    """Return the process's plugin host, loaded on first use."""
    return load()


def build(family: type[T], spec: Spec | str) -> T:
    """Build a technique with the process's host."""
    return host().build(family, spec)


def announce(event: str, **facts: Any) -> None:
    """Tell every plugin that something happened; one that raises is logged by name."""
    for impl in getattr(host().manager.hook, event).get_hookimpls():
        try:
            impl.function(**{name: facts[name] for name in impl.argnames})
        except (Exception, SystemExit):  # an observer must not end the run
            log.exception("Plugin %s raised in %s", impl.plugin_name, event)
