"""Models whose linear layers hold int4 weights for a GPU: how they lie on disk, how they run again.

torchao's tensor is two plain ones, in the tiles that the tinygemm kernel reads: ``x.weight_int4``,
int32 of shape (rows / 8, columns / 128, 32, 4) with rows padded to a multiple of 8 and columns to
one of 1024, and ``x.weight_scale_and_zero``, bfloat16 of shape (columns / group, rows, 2), padded
alike. As for int8, the names are no weights' names, so that a program which does not know them
misses weights and says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError
from tunesmith.int8_weights import fill_plain

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

METHOD = "tunesmith_torchao_int4"
"""What config.json calls it."""
GROUPS = (32, 64, 128, 256)
"""How many weights of a row may share a scale; the kernel has no others."""
VALUES, SCALES = "_int4", "_scale_and_zero"
"""What the two parts of a weight are called after it."""
_CAPABILITY = (8, 0)
_ROWS, _COLUMNS, _TILE = 8, 1024, 128


def group_of(folder: Path) -> int | None:
    """Return how many weights share a scale; None for a model that has no int4 weights."""
    from tunesmith.model_facts import read_json

    found = read_json(folder / "config.json").get("quantization_config")
    if not isinstance(found, dict) or found.get("quant_method") != METHOD:
        return None
    group = found.get("group_size")
    if group not in GROUPS:
        raise ModelError(
            f"{folder / 'config.json'} asks for int4 weights in groups of {group!r};"
            f" there are {', '.join(map(str, GROUPS))}."
        )
    return int(group)


def write_config(source: Path, out: Path, group: int) -> None:
    """Write a model's config.json with the method and the group size in it."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": METHOD, "group_size": group}
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (out / "config.json").write_text(text + "\n", encoding="utf-8")


def why_not_here() -> str:
    """Return why this machine cannot compute with int4 weights; empty when it can."""
    import torch

    if not torch.cuda.is_available():
        return (
            "int4 weights are computed by a CUDA kernel, and there is no CUDA GPU here. For a CPU"
            " take the quantizer {name: gguf, type: q4_k_m}, which is as small."
        )
    found = torch.cuda.get_device_capability()
    if found < _CAPABILITY:
        return (
            f"the int4 kernel needs a GPU of compute capability 8.0 (Ampere) or newer, and this one"
            f" has {found[0]}.{found[1]}. Take {{name: gguf, type: q4_k_m}} or torchao_int8."
        )
    return ""


def parts_of(weight: Any) -> tuple[Tensor, Tensor]:
    """Return torchao's int4 tensor as the two that are stored, on the CPU."""
    return weight.qdata.cpu().contiguous(), weight.scale_and_zero.cpu().contiguous()


def int4_tensor(values: Tensor, scales: Tensor, group: int, shape: tuple[int, int]) -> Tensor:
    """Return torchao's tensor for a matrix of ``shape`` (rows, columns), where its parts are."""
    try:
        from torchao.quantization import Int4TilePackedTo4dTensor
    except ImportError as error:
        raise ModelError(
            "This model has int4 weights, which run with torchao: `pip install tunesmith[torchao]`."
        ) from error
    import torch

    made: Tensor = Int4TilePackedTo4dTensor(values, scales, [1, group], torch.Size(shape))
    return made


def stored_shapes(
    shape: tuple[int, int], group: int
) -> tuple[tuple[int, int, int, int], tuple[int, int, int]]:
    """Return the shapes of values and scales that a matrix of ``shape`` is stored in."""
    rows, columns = _padded(shape[0], _ROWS), _padded(shape[1], _COLUMNS)
    return (rows // _ROWS, columns // _TILE, 32, 4), (columns // group, rows, 2)


def _padded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def load(folder: Path, group: int, dtype: torch.dtype, attention: str | None) -> PreTrainedModel:
    """Return the model on the GPU with its int4 weights in torchao's tensors, for evaluation.

    ``dtype`` is what the rest of the model computes in; the kernel itself works in bfloat16. Raises
    ModelError where there is no GPU for it, and when the weights are incomplete or damaged.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    if dtype == torch.float16:
        raise ModelError("int4 weights compute beside float32 or bfloat16; choose one of them.")
    if reason := why_not_here():
        raise ModelError(f"{folder} cannot run here: {reason}")
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    del config.quantization_config
    more = {"attn_implementation": attention} if attention else {}
    loader: Any = AutoModelForCausalLM
    model = loader.from_config(config, dtype=dtype, **more)
    stored: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    fill(folder, model, stored, group, dtype)
    on_gpu: PreTrainedModel = torch.nn.Module.to(model, "cuda").eval()
    return on_gpu


def fill(
    folder: Path, model: PreTrainedModel, stored: dict[str, Tensor], group: int, dtype: torch.dtype
) -> None:
    """Put what is stored into a model; raise ModelError for what is missing or does not fit."""
    names = {key.removesuffix(VALUES) for key in stored if key.endswith(f".weight{VALUES}")}
    parts = {f"{name}{part}" for name in names for part in (VALUES, SCALES)}
    fill_plain(folder, model, {k: v for k, v in stored.items() if k not in parts}, names, dtype)
    for name in sorted(names):
        _fill_int4(folder, model, name, stored, group)


def _fill_int4(
    folder: Path, model: PreTrainedModel, name: str, stored: dict[str, Tensor], group: int
) -> None:
    import torch

    values, scales = stored[f"{name}{VALUES}"], stored.get(f"{name}{SCALES}")
    module: Any = model.get_submodule(name.removesuffix(".weight"))
    shape = tuple(module.weight.shape)
    of_values, of_scales = stored_shapes(shape, group)
    if values.dtype != torch.int32 or tuple(values.shape) != of_values:
        raise ModelError(f"{folder}: {name}{VALUES} must be int32 of shape {of_values}.")
    if (
        scales is None
        or tuple(scales.shape) != of_scales
        or scales.dtype != torch.bfloat16
        or not bool(scales.isfinite().all())
    ):
        raise ModelError(
            f"{folder}: {name}{SCALES} must be finite bfloat16 numbers of shape {of_scales}."
        )
    packed = int4_tensor(values, scales, group, shape)
    module.weight = torch.nn.Parameter(packed, requires_grad=False)
