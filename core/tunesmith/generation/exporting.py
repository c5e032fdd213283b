"""A model as an engine reads it: the folder itself, or the same weights in another form."""

from __future__ import annotations

import shutil
from pathlib import Path

from tunesmith.adapted import read_marker
from tunesmith.endpoints import Endpoint
from tunesmith.errors import ModelError
from tunesmith.techniques import Engine, Quantizer


def keeper(engine: str) -> Quantizer | None:
    """Return the quantizer that stores every weight as it is for an engine, None without one."""
    from tunesmith.plugins import build, host

    for name, one in sorted(host().available(Quantizer).items()):
        if one.engine == engine and one.unchanged is not None:
            return build(Quantizer, {"name": name, **one.unchanged})
    return None


FIRST = ("transformers", "llamacpp")
"""The engines that a folder is read with if it can be; the others in the order of their names."""


def reader(model: Path) -> Engine:
    """Return the engine that reads a model folder as it lies there.

    None that chooses among others, and none that asks a server, which reads no folder at all.
    Raises ModelError when there is none.
    """
    from tunesmith.plugins import build, host

    known = host().available(Engine)
    own = [
        name
        for name, kind in sorted(known.items())
        if kind.chosen is Engine.chosen and not issubclass(kind, Endpoint)
    ]
    for name in [*(one for one in FIRST if one in own), *own]:
        if build(Engine, name).reads(model):
            return build(Engine, name)
    raise ModelError(
        f"No installed engine reads {model}; it holds neither safetensors weights with a"
        f" config.json nor one GGUF file. Engines: {', '.join(sorted(known))}."
    )


def obstacles(engine: Engine, model: Path) -> list[str]:
    """Return why an engine cannot run a model at its own precision; reads only JSON files."""
    if engine.reads(model):
        return []
    writer = keeper(engine.name)
    if writer is None:
        return [f"{engine.name} does not read {model}, and nothing writes its form unchanged."]
    if read_marker(model) is not None or not any(model.glob("*.safetensors")):
        return [f"{engine.name} needs whole safetensors weights; {model} has none."]
    if (model / "config.json").is_file() and _quantized(model):
        return [f"{model} is quantized for another engine; {engine.name} has no form of it."]
    return writer.objections(model)


def readable(engine: Engine, model: Path, out: Path) -> Path:
    """Return a folder that the engine reads: the model's, or its weights unchanged in ``out``.

    ``out`` is emptied first. Raises ModelError when there is no unchanged form.
    """
    if engine.reads(model):
        return model
    if found := obstacles(engine, model):
        raise ModelError(found[0])
    writer = keeper(engine.name)
    assert writer is not None
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    writer.quantize(model, out)
    if not engine.reads(out):
        raise ModelError(f"{engine.name} does not read what {writer.name} wrote of {model}.")
    return out


def _quantized(model: Path) -> bool:
    from tunesmith.int8_weights import mode_of

    return mode_of(model) is not None
