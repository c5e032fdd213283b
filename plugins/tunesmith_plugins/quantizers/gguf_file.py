"""GGUF: the file that llama.cpp reads, in full or reduced precision.

q8_0 and q4_0 store blocks of 32 weights with one fp16 scale (8.5 and 4.5 bits per weight); q4_k and
q6_k store 256 weights with an fp16 scale of their scales (4.5 and 6.6 bits):
https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h. Tensors are written one
by one, so that memory holds one of them at a time, and the same model gives the same bytes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunesmith import ModelError, Outcome, Quantizer, hookimpl
from tunesmith.adapted import refuse_adapted
from tunesmith.model_facts import read_json
from tunesmith.models import check_model, load_tokenizer
from tunesmith_plugins.quantizers.ggml_blocks import blocks
from tunesmith_plugins.quantizers.gguf_architectures import (
    Architecture,
    architecture_of,
    describe,
    in_gguf_order,
    rope_factors,
)
from tunesmith_plugins.quantizers.gguf_recipe import Recipe
from tunesmith_plugins.quantizers.gguf_vocabulary import write_vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy import ndarray
    from torch import Tensor

FILE = "model.gguf"
_BESIDE = ("config.json", "generation_config.json", "chat_template.*", "tokenizer*", "special_*",
           "vocab.*", "merges.txt", "spiece.model", "added_tokens.json")  # fmt: skip
_LARGEST_F16 = 65504.0


class Gguf(Quantizer):
    """Write one GGUF file for llama.cpp, with the tokenizer's files beside it."""

    name = "gguf"
    engine: ClassVar[str] = "llamacpp"
    unchanged: ClassVar[dict[str, Any] | None] = {"type": "f32"}
    needs: ClassVar[tuple[str, ...]] = ("gguf",)

    type: Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m"] = "q8_0"
    """How matrices are stored; norms and biases stay f32, q4_0 keeps the output matrix at q8_0, and
    q4_k_m is llama.cpp's mixture of q4_k and q6_k."""

    def quantize(self, model_dir: Path, out: Path) -> Outcome:
        """Write ``model.gguf``, ``report.json`` and the tokenizer's files to ``out``.

        Metrics: ``bytes`` of the GGUF file, ``bits_per_weight``, ``ratio`` to the same weights in
        fp32, ``fallbacks`` (matrices whose rows do not divide into the blocks they should have),
        and for a mixture ``types``, what each matrix is stored as. Raises ModelError for an
        architecture or a tokenizer that llama.cpp does not have.
        """
        check_model(model_dir)
        refuse_adapted(model_dir, "gguf stores weights")
        config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
        architecture = architecture_of(config)
        out.mkdir(parents=True, exist_ok=True)
        recipe = Recipe.of(self.type, architecture.gguf, config)
        plan = _plan(model_dir, config, architecture, recipe)
        words = _write(model_dir, out / FILE, config, architecture, plan, self.type)
        _copy_beside(model_dir, out)
        metrics = _measure(out / FILE, plan, recipe) | words
        (out / "report.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        return Outcome(metrics=metrics)

    def objections(self, model: Path) -> list[str]:
        """Return why llama.cpp has no form of a model; its config alone is read."""
        try:
            architecture_of(read_json(model / "config.json"))
        except ModelError as error:
            return [str(error)]
        return []


@dataclass(frozen=True, slots=True)
class _Planned:
    """One tensor: where it is read, what it is called in GGUF, and how it is stored."""

    source: Path
    key: str
    name: str
    shape: tuple[int, ...]
    stored: str
    fell_back: bool


def _plan(
    model_dir: Path, config: dict[str, Any], architecture: Architecture, recipe: Recipe
) -> list[_Planned]:
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    from safetensors import safe_open

    numbers = {name: number for number, name in MODEL_ARCH_NAMES.items()}
    names = get_tensor_name_map(numbers[architecture.gguf], config["num_hidden_layers"])
    plan = []
    for path in sorted(model_dir.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for key in sorted(weights.keys()):
                if config.get("tie_word_embeddings") and key == "lm_head.weight":
                    continue
                name = names.get_name(key, try_suffixes=(".weight", ".bias"))
                if name is None:
                    raise ModelError(f"{path.name}: the tensor {key} has no place in a GGUF file.")
                shape = tuple(weights.get_slice(key).get_shape())
                stored = recipe.stored(name, shape)
                plan.append(_Planned(path, key, name, shape, stored.type, stored.fell_back))
    return plan


def _write(
    model_dir: Path,
    path: Path,
    config: dict[str, Any],
    architecture: Architecture,
    plan: list[_Planned],
    wanted: str,
) -> dict[str, Any]:
    import gguf

    writer = gguf.GGUFWriter(path, architecture.gguf)
    file_types = {"f32": "ALL_F32"} | {t: f"MOSTLY_{t.upper()}" for t in _TYPES}
    writer.add_file_type(gguf.LlamaFileType[file_types[wanted]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    describe(writer, config)
    words = write_vocabulary(writer, load_tokenizer(model_dir), config["vocab_size"])
    try:
        _write_tensors(writer, config, architecture, plan)
    finally:
        writer.close()
    return words


_TYPES = ("f16", "bf16", "q8_0", "q4_0", "q4_k_m")


def _write_tensors(
    writer: GGUFWriter, config: dict[str, Any], architecture: Architecture, plan: list[_Planned]
) -> None:
    import numpy as np

    factors = rope_factors(config)
    if factors is not None:
        writer.add_tensor_info(
            "rope_freqs.weight", [len(factors)], np.dtype(np.float32), 4 * len(factors)
        )
    for item in plan:
        _announce(writer, item)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(np.array(factors, dtype=np.float32))
    for item in plan:
        writer.write_tensor_data(_stored(item, config, architecture))


def _announce(writer: GGUFWriter, item: _Planned) -> None:
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    kind = GGMLQuantizationType[item.stored.upper()]
    block, block_bytes = GGML_QUANT_SIZES[kind]
    size = math.prod(item.shape) // block * block_bytes
    # float32 only says that the shape counts weights and not bytes; raw_dtype is what is stored.
    writer.add_tensor_info(item.name, item.shape, np.dtype(np.float32), size, raw_dtype=kind)


def _stored(item: _Planned, config: dict[str, Any], architecture: Architecture) -> ndarray:
    from safetensors import safe_open

    with safe_open(item.source, framework="pt") as weights:
        tensor: Tensor = weights.get_tensor(item.key).float()
    if architecture.interleaved:
        tensor = in_gguf_order(item.key, tensor, config)
    _check_range(item, float(tensor.abs().max()))
    return blocks(tensor.contiguous().numpy(), item.stored)


def _check_range(item: _Planned, largest: float) -> None:
    if not math.isfinite(largest):
        raise ModelError(f"{item.key} holds NaN or infinity; the model is damaged.")
    if item.stored not in ("f32", "bf16") and largest > _LARGEST_F16:
        raise ModelError(
            f"{item.key} holds weights beyond ±{_LARGEST_F16:.0f}, which fp16 cannot hold;"
            " choose type f32 or bf16."
        )


def _copy_beside(model_dir: Path, out: Path) -> None:
    for pattern in _BESIDE:
        for path in sorted(model_dir.glob(pattern)):
            shutil.copyfile(path, out / path.name)


def _measure(path: Path, plan: list[_Planned], recipe: Recipe) -> dict[str, Any]:
    weights = sum(math.prod(item.shape) for item in plan)
    size = path.stat().st_size
    types = {item.name: item.stored for item in plan if len(item.shape) > 1}
    return {
        "type": recipe.wanted,
        "file": path.name,
        "bytes": size,
        "parameters": weights,
        "bits_per_weight": round(8 * size / weights, 4),
        "ratio": round(size / (4 * weights), 4),
        "tensors": dict(sorted(Counter(item.stored for item in plan).items())),
        "fallbacks": [item.name for item in plan if item.fell_back],
    } | ({"types": types} if recipe.is_mixture else {})


@hookimpl
def register_quantizers() -> list[type[Quantizer]]:
    """Offer the technique."""
    return [Gguf]
