"""Find the installed techniques, and build the one that a config names."""

from __future__ import annotations

import hashlib
import inspect
import logging
import traceback
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy
from pydantic import ValidationError

from tunesmith import hookspecs
from tunesmith.errors import ConfigError, PluginError, did_you_mean
from tunesmith.records import Spec
from tunesmith.settings import disabled_plugins
from tunesmith.techniques import FAMILIES, Technique

log = logging.getLogger("tunesmith.plugins")
T = TypeVar("T", bound=Technique)
GROUP = "tunesmith"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a technique comes from."""

    plugin: str
    distribution: str
    version: str


@dataclass(slots=True)
class Broken:
    """A plugin that could not be loaded."""

    plugin: str
    distribution: str
    error: str
    traceback: str


@dataclass(slots=True)
class Host:
    """The loaded plugins: techniques by family and name, and what could not be loaded."""

    manager: pluggy.PluginManager
    techniques: dict[str, dict[str, type[Technique]]] = field(default_factory=dict)
    sources: dict[tuple[str, str], Provenance] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    distributions: dict[str, Provenance] = field(default_factory=dict)

    def available(self, family: type[T]) -> dict[str, type[T]]:
        """Return the family's techniques by name, sorted."""
        found = self.techniques.get(family.family, {})
        return {name: found[name] for name in sorted(found)}  # type: ignore[misc]

    def find(self, family: type[T], name: str) -> type[T]:
        """Return the class called ``name``; raise PluginError with the nearest name."""
        known = self.available(family)
        if name in known:
            return known[name]
        raise PluginError(
            f"No {family.family} is named {name!r}.{did_you_mean(name, known)}"
            f" Installed: {', '.join(known) or 'none'}.{self._suspects()}"
        )

    def _suspects(self) -> str:
        names = [b.plugin for b in self.broken]
        off = [f"{p} is disabled" for p in self.disabled]
        if names:
            off.append(f"{', '.join(names)} could not be loaded (see `tunesmith plugins doctor`)")
        return f" Note: {'; '.join(off)}." if off else ""

    def build(self, family: type[T], spec: Spec | str) -> T:
        """Return the technique a config describes; raise ConfigError on a wrong option."""
        options = {"name": spec} if isinstance(spec, str) else dict(spec)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"A {family.family} needs a name, e.g. {{name: ...}}; got {spec!r}.")
        technique = self.find(family, name)
        try:
            return technique(**options)
        except ValidationError as error:
            raise ConfigError(explain(error, technique)) from error

    def provenance(self, technique: type[Technique] | Technique) -> Provenance:
        """Return which plugin, distribution and version a technique comes from."""
        return self.sources[technique.family, technique.name]


def explain(error: ValidationError, technique: type[Technique]) -> str:
    """Say in one sentence per problem what is wrong with a technique's options."""
    fields = technique.model_fields
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(fields) or "none"
            hint = did_you_mean(key, fields)
            lines.append(f"{technique.name} has no option {key!r}.{hint} Options: {known}.")
        else:
            given = problem.get("input")
            lines.append(f"{technique.name}.{key}: {problem['msg']}; got {given!r}.")
    return " ".join(lines)


def source_hash(technique: type[Technique]) -> str:
    """Return a hash of the file that defines a technique; an editable version never changes."""
    source = inspect.getsource(inspect.getmodule(technique) or technique)
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _provenance(entry: EntryPoint) -> Provenance:
    dist = entry.dist
    return Provenance(entry.name, dist.name if dist else "unknown", dist.version if dist else "0")


def load(entries: list[EntryPoint] | None = None, disabled: set[str] | None = None) -> Host:
    """Load every plugin by itself: one that fails is recorded, and the others still work."""
    manager = pluggy.PluginManager("tunesmith")
    manager.add_hookspecs(hookspecs)
    host = Host(manager)
    off = disabled_plugins() if disabled is None else disabled
    found = list(entry_points(group=GROUP)) if entries is None else entries
    for entry in sorted(found, key=lambda e: e.name):
        if entry.name in off or (entry.dist and entry.dist.name in off):
            host.disabled.append(entry.name)
        else:
            _load_one(host, entry)
    for family in FAMILIES:
        _collect(host, family)
    return host


def _load_one(host: Host, entry: EntryPoint) -> None:
    where = _provenance(entry)
    try:
        module = entry.load()
        host.manager.register(module, name=entry.name)
        host.manager.check_pending()
    except Exception as error:  # a stranger's import may raise anything
        if host.manager.has_plugin(entry.name):
            host.manager.unregister(name=entry.name)
        _mark_broken(host, where, error)
        return
    host.distributions[entry.name] = where


def _mark_broken(host: Host, where: Provenance, error: Exception) -> None:
    trace = "".join(traceback.format_exception(error))
    message = f"{type(error).__name__}: {error}"
    host.broken.append(Broken(where.plugin, where.distribution, message, trace))
    log.warning("Plugin %s (%s) is skipped: %s", where.plugin, where.distribution, message)


def _collect(host: Host, family: type[Technique]) -> None:
    known = host.techniques.setdefault(family.family, {})
    for impl in reversed(getattr(host.manager.hook, family.hook).get_hookimpls()):
        where = host.distributions[impl.plugin_name]
        try:
            offered = [_checked(t, family) for t in impl.function()]
        except Exception as error:  # a stranger's hook may raise anything
            _mark_broken(host, where, error)
            continue
        for technique in offered:
            _add(host, known, family, technique, where)


def _checked(technique: Any, family: type[Technique]) -> type[Technique]:
    if not (isinstance(technique, type) and issubclass(technique, family)):
        raise PluginError(f"{family.hook} must return {family.family} classes, got {technique!r}.")
    if not technique.name:
        raise PluginError(f"{technique.__name__} has no name; give it `name = \"...\"`.")
    return technique


def _add(
    host: Host,
    known: dict[str, type[Technique]],
    family: type[Technique],
    technique: type[Technique],
    where: Provenance,
) -> None:
    if technique.name in known:
        first = host.sources[family.family, technique.name]
        raise PluginError(
            f"Two plugins offer a {family.family} named {technique.name!r}: {first.plugin} from"
            f" {first.distribution} and {where.plugin} from {where.distribution}. Disable one:"
            f" `tunesmith plugins disable {where.plugin}` or TUNESMITH_DISABLE={where.plugin}."
        )
    known[technique.name] = technique
    host.sources[family.family, technique.name] = where


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
        except Exception:  # an observer must not end the run
            log.exception("Plugin %s raised in %s", impl.plugin_name, event)
