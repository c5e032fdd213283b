"""What the loaded plugins offer, and the words for everything that can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pluggy
from pydantic import ValidationError

from tunesmith.errors import ConfigError, PluginError, TunesmithError, did_you_mean
from tunesmith.records import Spec
from tunesmith.techniques import Technique

T = TypeVar("T", bound=Technique)
DOCTOR = "`tunesmith plugins doctor` shows the traceback"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a technique comes from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})"


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin that could not be loaded, or one of whose hooks failed."""

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
    conflicts: dict[tuple[str, str], list[Provenance]] = field(default_factory=dict)
    """Names that several plugins offer; nobody gets them until all but one are disabled."""
    broken: list[Broken] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    distributions: dict[str, Provenance] = field(default_factory=dict)
    heavy: dict[str, list[str]] = field(default_factory=dict)
    """Plugins that import a heavy library just to be listed, with the libraries."""

    def available(self, family: type[T]) -> dict[str, type[T]]:
        """Return the family's techniques by name, sorted."""
        found = self.techniques.get(family.family, {})
        return {name: found[name] for name in sorted(found)}  # type: ignore[misc]

    def find(self, family: type[T], name: str) -> type[T]:
        """Return the class called ``name``; raise PluginError with the nearest name."""
        known = self.available(family)
        if name in known:
            return known[name]
        if (family.family, name) in self.conflicts:
            raise PluginError(self.conflict(family.family, name))
        raise PluginError(
            f"No {family.family} is named {name!r}.{did_you_mean(name, known)}"
            f" Installed: {', '.join(known) or 'none'}.{self._suspects(name)}"
        )

    def conflict(self, family: str, name: str) -> str:
        """Say who offers the same name, and how to choose."""
        offers = self.conflicts[family, name]
        last = offers[-1].plugin
        several = "Two" if len(offers) == 2 else str(len(offers))
        return (
            f"{several} plugins offer a {family} named {name!r}:"
            f" {' and '.join(str(one) for one in offers)}. Disable all but one,"
            f" e.g. `tunesmith plugins disable {last}` or TUNESMITH_DISABLE={last}."
        )

    def _suspects(self, name: str) -> str:
        """Name the plugin that should have offered it, else every one that is missing."""
        wanted = [b for b in self.broken if b.plugin.rpartition(".")[2].replace("-", "_") == name]
        if wanted:
            return f" The plugin {wanted[0].plugin} failed: {wanted[0].error}; {DOCTOR}."
        notes = [f"{plugin} is disabled" for plugin in self.disabled]
        if self.broken:
            failed = ", ".join(dict.fromkeys(b.plugin for b in self.broken))
            notes.append(f"{failed} could not be loaded; {DOCTOR}")
        return f" Note: {'; '.join(notes)}." if notes else ""

    def build(self, family: type[T], spec: Spec | str) -> T:
        """Return the technique a config describes; raise ConfigError on a wrong option."""
        options = {"name": spec} if isinstance(spec, str) else dict(spec)
        name = options.pop("name", None)
        if not isinstance(name, str):
            known = ", ".join(self.available(family))
            raise ConfigError(
                f"A {family.family} needs a name, e.g. {{name: ...}}; got {spec!r}."
                f" Installed: {known or 'none'}."
            )
        technique = self.find(family, name)
        try:
            return technique(**options)
        except ValidationError as error:
            raise ConfigError(explain(error, technique)) from error
        except TunesmithError:
            raise
        # A stranger's validator may raise anything; a config must not be blamed for it.
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"The {family.family} {name!r} of the plugin {self.provenance(technique)} cannot"
                f" be built ({type(error).__name__}: {_line(error)}). This is a defect of that"
                " plugin."
            ) from error

    def provenance(self, technique: type[Technique] | Technique) -> Provenance:
        """Return which plugin, distribution and version a technique comes from."""
        return self.sources[technique.family, technique.name]

    def add(self, technique: type[Technique], where: Provenance) -> None:
        """Take a technique in; a name that is taken already becomes a conflict."""
        known = self.techniques.setdefault(technique.family, {})
        key = technique.family, technique.name
        if key in self.conflicts:
            self.conflicts[key].append(where)
        elif technique.name in known:
            self.conflicts[key] = [self.sources.pop(key), where]
            del known[technique.name]
        else:
            known[technique.name] = technique
            self.sources[key] = where


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def explain(error: ValidationError, technique: type[Technique]) -> str:
    """Say in one sentence per problem what is wrong with a technique's options."""
    sentences = (_sentence(problem, technique) for problem in error.errors(include_url=False))
    return " ".join(dict.fromkeys(sentences))


def _sentence(problem: Any, technique: type[Technique]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return _unknown(key, technique.model_fields, technique.name)
    if problem["type"] == "missing":
        return f"{technique.name} needs the option {key!r}."
    if not key:
        return f"{technique.name}: {message}."
    message = message.replace("Input should be", "expected").split(", unable to")[0]
    return f"{technique.name}.{key}: {message}; got {problem.get('input')!r}."


def _unknown(key: str, fields: Iterable[str], name: str) -> str:
    known = ", ".join(fields) or "none"
    return f"{name} has no option {key!r}.{did_you_mean(key, fields)} Options: {known}."
