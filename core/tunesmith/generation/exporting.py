"""A model as an engine reads it: the folder itself, or the same weights in another form."""

from __future__ import annotations

import shutil
from pathlib import Path

from tunesmith.adapted import read_marker
from tunesmith.errors import ModelError
from tunesmith.techniques import Engine, Quantizer


def keeper(engine: str) -> Quantizer | None:
    """Return the quantizer that stores every weight as it is for an engine, None without one."""
    from tunesmith.plugins import build, host

    for name, one in sorted(host().available(Quantizer).items()):
        if one.engine == engine and one.unchanged is not None:
            return build(Quantizer, {"name": name, **one.unchanged})
    return None


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
