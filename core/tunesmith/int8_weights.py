"""Models whose linear layers hold int8 weights: how they lie on disk, and how they run again.

torchao's own tensors cannot be written as safetensors without its help, and its file layout is
still called a prototype. So a folder holds plain tensors: ``x.weight_int8`` and ``x.weight_scale``,
one float32 per row. The names are no weights' names, so that a program which does not know them
misses weights and says so, instead of computing with bare integers. Loading puts torchao's tensors
together again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

METHOD = "tunesmith_torchao_int8"
"""What config.json calls it."""
MODES = ("dynamic", "weight_only")
VALUES, SCALE = "_int8", "_scale"
"""What the two parts of a weight are called after it."""


def mode_of(folder: Path) -> str | None:
    """Return how a folder's int8 weights compute; None for a model that has none."""
    from tunesmith.model_facts import read_json

    found = read_json(folder / "config.json").get("quantization_config")
    if not isinstance(found, dict) or found.get("quant_method") != METHOD:
        return None
    mode = found.get("mode")
    if mode not in MODES:
        raise ModelError(
            f"{folder / 'config.json'} asks for int8 weights in the mode {mode!r};"
            f" there are {', '.join(MODES)}."
        )
    return str(mode)


def write_config(source: Path, out: Path, mode: str) -> None:
    """Write a model's config.json with the method and mode in it."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": METHOD, "mode": mode}
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (out / "config.json").write_text(text + "\n", encoding="utf-8")


def load(folder: Path, mode: str, dtype: torch.dtype, attention: str | None) -> PreTrainedModel:
    """Return the model with its int8 weights in torchao's tensors, in evaluation mode.

    Raises ModelError when torchao is missing, and when the weights are incomplete or damaged.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    if dtype == torch.float16:
        raise ModelError("int8 weights compute beside float32 or bfloat16; choose one of them.")
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    del config.quantization_config
    more = {"attn_implementation": attention} if attention else {}
    loader: Any = AutoModelForCausalLM
    model = loader.from_config(config, dtype=dtype, **more)
    stored: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    int8 = _int8_names(stored)
    parts = {f"{name}{part}" for name in int8 for part in (VALUES, SCALE)}
    fill_plain(folder, model, {k: v for k, v in stored.items() if k not in parts}, set(int8), dtype)
    for name in int8:
        _fill_int8(folder, model, name, stored, mode, dtype)
    filled: PreTrainedModel = model.eval()
    return filled


def _int8_names(stored: dict[str, Tensor]) -> list[str]:
    return [key.removesuffix(VALUES) for key in stored if key.endswith(f".weight{VALUES}")]


def fill_plain(
    folder: Path,
    model: PreTrainedModel,
    stored: dict[str, Tensor],
    elsewhere: set[str],
    dtype: torch.dtype,
) -> None:
    """Put the weights that are stored as they are into a model; ``elsewhere`` names the others.

    Raises ModelError for a weight that is missing, has no place, or is no number.
    """
    plain = {key: value.to(dtype) for key, value in stored.items()}
    for key, value in plain.items():
        if not bool(value.isfinite().all()):
            raise ModelError(f"{folder}: the weights of {key} hold NaN or infinity.")
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    try:
        result: Any = model.load_state_dict(plain, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{folder} does not fit its config.json: {error}") from error
    missing = sorted(set(result.missing_keys) - elsewhere - tied)
    if missing or result.unexpected_keys:
        raise ModelError(
            f"{folder} does not fill the model that its config.json describes:"
            f" {len(missing)} tensors are missing, {len(result.unexpected_keys)} have no place"
            f" (first: {[*missing, *result.unexpected_keys][0]})."
        )
    model.tie_weights()


def _fill_int8(
    folder: Path,
    model: PreTrainedModel,
    name: str,
    stored: dict[str, Tensor],
    mode: str,
    dtype: torch.dtype,
) -> None:
    import torch

    values, scale = stored[f"{name}{VALUES}"], stored.get(f"{name}{SCALE}")
    module: Any = model.get_submodule(name.removesuffix(".weight"))
    wanted = tuple(module.weight.shape)
    if values.dtype != torch.int8 or tuple(values.shape) != wanted:
        raise ModelError(f"{folder}: {name} must be int8 of shape {wanted}.")
    if (
        scale is None
        or tuple(scale.shape) != (wanted[0], 1)
        or not bool((scale.isfinite() & (scale > 0)).all())
    ):
        raise ModelError(f"{folder}: {name}{SCALE} must be one positive number per row.")
    module.weight = torch.nn.Parameter(int8_tensor(values, scale, mode, dtype), requires_grad=False)


def int8_tensor(values: Tensor, scale: Tensor, mode: str, dtype: torch.dtype) -> Tensor:
    """Return torchao's tensor: ``values`` int8 (rows, columns), ``scale`` float32 (rows, 1).

    ``dynamic`` rounds activations to int8 too, each token by a scale of its own.
    """
    try:
        from torchao.quantization import Int8Tensor, PerRow
        from torchao.quantization.quantize_.workflows.int8.int8_tensor import (
            QuantizeTensorToInt8Kwargs,
        )
    except ImportError as error:
        raise ModelError(
            "This model has int8 weights, which run with torchao: `pip install tunesmith[torchao]`."
        ) from error
    import torch

    activations = QuantizeTensorToInt8Kwargs(granularity=PerRow()) if mode == "dynamic" else None
    made: Tensor = Int8Tensor(
        values,
        scale,
        [1, values.shape[1]],
        dtype,
        zero_point=torch.zeros_like(scale, dtype=torch.int8),
        act_quant_kwargs=activations,
    )
    return made
