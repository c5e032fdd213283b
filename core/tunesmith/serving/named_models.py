"""What ``tunesmith serve`` is told to serve: aliases, versions, folders, the built-in model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith import plugins
from tunesmith import store as stores
from tunesmith.errors import ConfigError, ModelError, StoreError, did_you_mean
from tunesmith.model_facts import read_json
from tunesmith.models import BUILTIN, resolve_model
from tunesmith.records import Spec
from tunesmith.store import Store, queries, registry
from tunesmith.techniques import Engine

_ID = re.compile(r"[A-Za-z0-9][\w.:@/-]{0,127}")
_PREFERRED = ("transformers", "llamacpp")
"""Engines that are tried first, in this order."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model to serve: the name clients ask for, its files, and the engine for them."""

    id: str
    folder: Path
    engine: Spec
    facts: dict[str, Any] = field(default_factory=dict)
    """What is known of its origin, such as the registered model, version and artifact."""

    @property
    def fingerprint(self) -> str:
        """What answers depend on besides the request: the files that were served."""
        return str(self.facts.get("artifact") or f"{self.folder.name}/{self.engine['name']}")


def targets(named: list[str], engine: Spec | None = None) -> list[Target]:
    """Return what the names stand for; raise when one stands for nothing, or two for one id.

    A name is ``nano``, ``builtin:NAME``, a folder, ``MODEL@ALIAS``, ``MODEL@VERSION``, or an alias
    that only one registered model has. ``ID=NAME`` serves it under another id.
    """
    found = [_target(one, engine) for one in named]
    ids = [one.id for one in found]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise ConfigError(
            f"Two models would be served as {twice[0]!r}. Give one another id:"
            f" `tunesmith serve mine={twice[0]} ...`."
        )
    return found


def _target(text: str, engine: Spec | None) -> Target:
    own, _, name = text.rpartition("=")
    known, folder, wanted, facts = _found(name)
    served = own or known
    if not _ID.fullmatch(served):
        raise ConfigError(
            f"{served!r} cannot be a model's id; use letters, digits and . _ : @ / -, e.g."
            f" `tunesmith serve mine={name}`."
        )
    return Target(served, folder, _engine(folder, engine or wanted), facts)


def _found(name: str) -> tuple[str, Path, Spec | None, dict[str, Any]]:
    """Return id, folder, the engine it was measured on (where it says), and facts."""
    if name in BUILTIN:
        return name, resolve_model(f"builtin:{name}"), None, {}
    if name.startswith("builtin:"):
        return name.removeprefix("builtin:"), resolve_model(name), None, {}
    folder = Path(name).expanduser()
    if folder.is_dir():
        folder = folder.absolute()
        return folder.name, folder, _engine_of(folder), {}
    return _registered(name)


def _registered(name: str) -> tuple[str, Path, Spec | None, dict[str, Any]]:
    store = stores.open()
    model, _, version = name.partition("@") if "@" in name else _model_with(store, name)
    one = registry.resolve(store, model, version)
    artifact = store.artifacts.get(one.artifact_id)
    facts = {"model": model, "version": one.version, "artifact": one.artifact_id}
    bundle = artifact.path / "bundle.json"
    if not bundle.is_file():
        return name, artifact.path, None, facts
    told = read_json(bundle)
    made = str(told["model"])
    inside = made in {row.id for row in queries.lineage(store, one.artifact_id).nodes.values()}
    folder = store.artifacts.get(made).path if inside else resolve_model(made)
    return name, folder, told.get("engine"), facts


def _model_with(store: Store, alias: str) -> tuple[str, str, str]:
    """Return the one registered model that has an alias."""
    aliases = {
        model: [row.alias for row in queries.aliases(store, model) if row.version is not None]
        for model in queries.models(store)
    }
    having = [model for model, known in aliases.items() if alias in known]
    if len(having) == 1:
        return having[0], "@", alias
    if having:
        ways = ", ".join(f"{model}@{alias}" for model in having)
        raise StoreError(f"Several models have the alias {alias!r}. Say which: {ways}.")
    known = [*BUILTIN, *(f"{model}@{one}" for model, ones in aliases.items() for one in ones)]
    raise ModelError(
        f"Nothing to serve is called {alias!r}: it is no folder, no built-in model and no alias."
        f"{did_you_mean(alias, known)} There are {', '.join(known)}; or give a folder."
    )


def _engine_of(folder: Path) -> Spec | None:
    """Return the engine that a deployed bundle was measured on."""
    bundle = folder / "bundle.json"
    return read_json(bundle).get("engine") if bundle.is_file() else None


def _engine(folder: Path, wanted: Spec | None) -> Spec:
    if wanted is not None:
        if not plugins.build(Engine, wanted).reads(folder):
            raise ModelError(
                f"The engine {wanted['name']!r} does not read {folder}. Leave --engine out to have"
                " one chosen that does."
            )
        return wanted
    known = plugins.host().available(Engine)
    for name in [*_PREFERRED, *known]:
        if name in known and plugins.build(Engine, name).reads(folder):
            return {"name": name}
    raise ModelError(
        f"No installed engine reads {folder}; it holds neither safetensors weights with a"
        f" config.json nor one GGUF file. Engines: {', '.join(known)}."
    )
