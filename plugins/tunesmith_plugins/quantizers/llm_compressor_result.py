"""What the other environment left: checked before any of it is taken over."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith import ModelError
from tunesmith.model_facts import PICKLES, inspect_model, read_json

_TAKEN = ("config.json", "*.safetensors", "model.safetensors.index.json", "recipe.yaml")
_BESIDE = ("generation_config.json", "chat_template.*", "tokenizer*", "special_*", "vocab.*",
           "merges.txt", "spiece.model", "added_tokens.json")  # fmt: skip
_METHOD = "compressed-tensors"
_ROUNDED = ("I8", "U8", "I32", "F8_E4M3")
"""What safetensors calls the types that a rounded matrix is stored as."""


def take_over(made: Path, parent: Path, out: Path, weights: int) -> dict[str, Any]:
    """Move a finished model to ``out``, the parent's tokenizer beside it; return what it weighs.

    ``weights`` is how many the parent has. Raises ModelError for a result that is not whole, not
    quantized, or holds a pickle.
    """
    _check_files(made)
    _check_config(made)
    _copy(parent, made, _BESIDE)
    if problems := inspect_model(made).problems:
        raise ModelError("llm-compressor left a model that is not whole: " + "\n".join(problems))
    quantized, kept = _matrices(made)
    _copy(made, out, _TAKEN, shutil.move)
    # From the parent and not from what was made: no file of another tokenizer may slip in.
    _copy(parent, out, _BESIDE)
    files = sorted(out.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    return {
        "files": [path.name for path in files],
        "bytes": size,
        "parameters": weights,
        "bits_per_weight": round(8 * size / weights, 4),
        "ratio": round(size / (4 * weights), 4),
        "quantized": len(quantized),
        "kept": kept,
    }


def _copy(
    source: Path,
    out: Path,
    patterns: tuple[str, ...],
    put: Callable[[Path, Path], Any] = shutil.copyfile,
) -> None:
    for pattern in patterns:
        for path in sorted(source.glob(pattern)):
            put(path, out / path.name)


def _check_files(made: Path) -> None:
    found = sorted(path.name for path in made.glob("*")) if made.is_dir() else []
    pickles = sorted(path.name for pattern in PICKLES for path in made.glob(pattern))
    if pickles:
        raise ModelError(
            f"llm-compressor wrote {', '.join(pickles)}: a pickle can run code when it is opened,"
            " and none is taken over. Use a release that writes safetensors (0.14 does)."
        )
    if not any(name.endswith(".safetensors") for name in found):
        raise ModelError(
            f"llm-compressor wrote no weights (*.safetensors), only {', '.join(found) or 'nothing'}"
        )


def _check_config(made: Path) -> None:
    path = made / "config.json"
    if not path.is_file():
        raise ModelError("llm-compressor wrote no config.json, so nothing can load its weights.")
    found = read_json(path).get("quantization_config")
    if not isinstance(found, dict) or found.get("quant_method") != _METHOD:
        raise ModelError(
            f"llm-compressor's config.json has no quantization_config of {_METHOD}: its weights"
            " are not quantized."
        )


def _matrices(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of matrices that were rounded, and of those that stay as they were.

    Raises ModelError where none was, and for a scale that no weight can have.
    """
    from safetensors import safe_open

    quantized: list[str] = []
    kept: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for name in sorted(weights.keys()):
                part = weights.get_slice(name)
                if name.endswith("_scale"):
                    _check_scale(name, float(weights.get_tensor(name).float().abs().max()))
                elif name.endswith((".weight", "_packed")) and len(part.get_shape()) > 1:
                    rounded = part.get_dtype() in _ROUNDED
                    (quantized if rounded else kept).append(name.removesuffix("_packed"))
    if not quantized:
        raise ModelError(
            "llm-compressor rounded no matrix: `ignore` leaves out all of them, or the scheme"
            " rounds none."
        )
    return quantized, kept


def _check_scale(name: str, largest: float) -> None:
    if not math.isfinite(largest):
        raise ModelError(f"llm-compressor left a scale that is no number: {name}.")
