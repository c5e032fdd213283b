"""The cache key of a stage: everything its artifact depends on, and nothing else.

Paths, run names and timings stay outside: the same work in another folder has the same key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from tunesmith import plugins, source_code, stages
from tunesmith.config import Lifecycle, Of, Optimise, Section
from tunesmith.generation.exporting import keeper
from tunesmith.nesting import nested_in
from tunesmith.places import Place, places
from tunesmith.techniques import Engine, Quantizer, Sampler, Task, Technique

LIBRARIES = ("torch", "transformers", "trl", "peft", "tokenizers")
"""What changes numbers when it changes version; stages that load no model do not depend on it."""
WITHOUT_MODEL = ("prepare", "collect")
_FORMAT = 1


def stage_key(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> str:
    """Return the sha256 of `ingredients`; ``inputs`` maps the stages read to their artifact ids.

    Raises ConfigError or PluginError for a technique that cannot be built, DataError for a source
    that cannot be read, and ModelError for a base model that is not there.
    """
    text = json.dumps(ingredients(config, stage, inputs), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stage_seed(seed: int, stage: str) -> int:
    """Return the seed of a stage, 0 to 2**31; stages never share a random stream."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}".encode()).digest()[:4], "big") >> 1


def ingredients(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return what the key is made of, as JSON; compare two of them to see why a stage ran again."""
    used = [*used_places(config, stage, inputs), *_implied(config, stage, inputs)]
    built = [(place.path, plugins.build(place.family, place.spec)) for place in used]
    return {
        "format": _FORMAT,
        "stage": stage,
        "seed": config.seed,
        "inputs": dict(sorted(inputs.items())),
        "config": _config(config, stage, inputs),
        "model": base_digest(config.model) if uses_base(stage, inputs) else None,
        "code": source_code.stage_digest(stage)[:16],
        "techniques": {path: _technique(technique) for path, technique in built},
        "limits": _limits(config, stage),
        "versions": versions(stage, [technique for _, technique in built]),
    }


def used_places(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> Iterator[Place]:
    """Yield the techniques a stage works with: its own, and those of sections it reads besides."""
    wanted = {_section(stage), *_besides(config, stage, inputs)}
    for place in places(config):
        if any(place.path == path or place.path.startswith(f"{path}.") for path in wanted):
            yield place


def _section(stage: str) -> str:
    return next(one.section for one in stages.STAGES if one.name == stage)


def _besides(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> Iterator[str]:
    """Yield what a stage reads of other sections, e.g. the judge of the win rate."""
    labelled = "collect" in inputs
    if stage == "reward" or (stage == "align" and labelled):
        yield "collect.source"
    if stage == "align" and "reward" in inputs:
        yield "reward.model"
    if stage == "evaluate" and config.evaluate and config.evaluate.win_rate:
        yield "collect.source"
    if stage in ("evaluate", "release") and "optimise" in inputs:
        yield "optimise"


def _settings(section: BaseModel) -> dict[str, Any]:
    """Return the keys of a section that hold no technique."""
    kept: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            kept[name] = _settings(value)
        elif isinstance(value, list) and any(isinstance(one, Section) for one in value):
            kept[name] = [_settings(one) for one in value]
        elif not any(isinstance(mark, Of) for mark in field.metadata):
            kept[name] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return kept


def _config(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return what a stage is told besides its techniques."""
    section = getattr(config, _section(stage))
    kept = _settings(section) if section else {}
    if stage == "optimise" and section:
        kept |= _students(section)
    if stage in ("align", "reward") and "collect" not in inputs:
        kept["tasks"] = stages.tried_tasks(config)
    return kept


def _students(section: Optimise) -> dict[str, Any]:
    """Return the digest of every model folder that is to be taught."""
    taught = {path: one.distil or {} for path, one in section.combinations.items()}
    named = {path: spec.get("student") for path, spec in taught.items()}
    folders = {path: name for path, name in named.items() if isinstance(name, str)}
    return {f"student of {path}": base_digest(name) for path, name in folders.items()}


def uses_base(stage: str, inputs: Mapping[str, str]) -> bool:
    """Say whether a stage loads the model the run begins with."""
    if stage in WITHOUT_MODEL:
        return False
    return stage in ("tune", "evaluate") or stages.last_model(inputs) is None


def _technique(technique: Technique) -> dict[str, Any]:
    """Return name, source and options; what a path points at counts, and not where it lies."""
    options = technique.model_dump(mode="json")
    mark = getattr(technique, "fingerprint", None)
    content = str(mark()) if callable(mark) else ""
    if content:
        options = {key: options[key] for key in options if not _is_path(technique, key)}
    inner = {key: _technique(one) for key, one in nested_in(technique).items()}
    return {
        "name": technique.name,
        "source": plugins.source_hash(type(technique)),
        "options": options,
        "content": content,
        **({"nested": inner} if inner else {}),
    }


def _is_path(technique: Technique, key: str) -> bool:
    kind = type(technique).model_fields[key].annotation
    return Path in (kind, *get_args(kind))


def _limits(config: Lifecycle, stage: str) -> dict[str, int]:
    """Return the longest answer to each task, which `respond` looks up by the task's name."""
    if stage != "respond":
        return {}
    known = plugins.host().available(Task)
    named = (config.respond.tasks if config.respond else []) or list(known)
    limits = {name: known[name].model_fields["max_new_tokens"] for name in named if name in known}
    return {name: field.default for name, field in limits.items()}


def _implied(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> Iterator[Place]:
    """Yield what a stage uses although no config names it: the engines that models answer on."""
    if stage in ("tune", "align", "evaluate", "release"):
        yield Place("engine", Engine, {"name": "transformers"})
        yield Place("smoke", Sampler, {"name": "greedy"})
    yield from _optimised(config, stage, inputs)
    yield from _unchanged_forms(config, stage, inputs)


def _optimised(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> Iterator[Place]:
    """Yield the engines that run what the quantizers write."""
    answers = stage == "optimise" or (stage in ("evaluate", "release") and "optimise" in inputs)
    for path, one in config.optimise.combinations.items() if answers and config.optimise else ():
        quantizer = plugins.build(Quantizer, one.quantizer)
        yield Place(f"{path}.quantizer.engine", Engine, {"name": quantizer.engine})


def _unchanged_forms(config: Lifecycle, stage: str, inputs: Mapping[str, str]) -> Iterator[Place]:
    """Yield what puts whole models on engines that do not read a model folder."""
    section = {"respond": config.respond, "evaluate": config.evaluate}.get(stage)
    names = {str(section.engine["name"])} if section else set()
    chooses = stage == "optimise" and config.optimise and config.optimise.choose
    if chooses or (stage == "evaluate" and "optimise" in inputs):
        names |= {str(place.spec["name"]) for place in _optimised(config, stage, inputs)}
    for name in sorted(names):
        if (writer := keeper(name)) is not None:
            spec = {"name": writer.name, **writer.model_dump(mode="json")}
            yield Place(f"{name}.form", Quantizer, spec)


def versions(stage: str, techniques: list[Technique]) -> dict[str, str]:
    """Return the versions of the libraries a stage computes with."""
    needed = {name for technique in techniques for name in technique.needs}
    if stage not in WITHOUT_MODEL:
        needed |= set(LIBRARIES)
    return {name: version(name) for name in sorted(needed)}


@lru_cache(maxsize=256)
def version(module: str) -> str:
    """Return the version of the distribution that provides a module, ``absent`` if none does."""
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        pass
    owners = metadata.packages_distributions().get(module.partition(".")[0], [])
    return metadata.version(owners[0]) if owners else "absent"


def base_digest(model: str) -> str | None:
    """Return a sha256 over a model folder's weights, config and tokenizer; None for `scratch`.

    Raises ModelError when there is no such model.
    """
    if model == "scratch":
        return None
    from tunesmith.models import resolve_model

    folder = resolve_model(model)
    hasher = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        facts = path.stat()
        hasher.update(path.name.encode() + b"\0")
        hasher.update(_file_digest(path, facts.st_size, facts.st_mtime_ns))
    return hasher.hexdigest()


@lru_cache(maxsize=512)
def _file_digest(path: Path, size: int, changed: int) -> bytes:
    """Return a file's sha256, computed once as long as its size and time stay the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
