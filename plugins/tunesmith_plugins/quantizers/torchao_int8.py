"""int8 weights on the reference engine, computed by torchao.

Every linear layer's row has one scale, the largest weight of the row divided by 127.5. ``dynamic``
rounds each token's activations to int8 as well and multiplies integers (LLM.int8 without its
outliers: Dettmers et al., NeurIPS 2022, https://arxiv.org/abs/2208.07339, section 2.1);
``weight_only`` multiplies floats. The numbers are torchao's: https://github.com/pytorch/ao.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunesmith import ModelError, Outcome, Quantizer, hookimpl
from tunesmith.int8_weights import SCALE, VALUES, mode_of, write_config
from tunesmith.models import check_model, load_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_BESIDE = ("generation_config.json", "chat_template.*", "tokenizer*", "special_*", "vocab.*",
           "merges.txt", "spiece.model", "added_tokens.json")  # fmt: skip


class TorchaoInt8(Quantizer):
    """Store linear layers in int8; runs on the engine `transformers` with torchao."""

    name = "torchao_int8"
    engine: ClassVar[str] = "transformers"
    needs: ClassVar[tuple[str, ...]] = ("torchao",)

    mode: Literal["dynamic", "weight_only"] = "dynamic"
    """`dynamic` rounds activations to int8 too, each token by its own scale; `weight_only` keeps
    them as they are, which is nearer to the model and no faster."""

    def quantize(self, model_dir: Path, out: Path) -> Outcome:
        """Write ``model.safetensors`` (int8 and scales), config, tokenizer and ``report.json``.

        Metrics: ``bytes``, ``bits_per_weight``, ``ratio`` to the same weights in fp32,
        ``kept`` (matrices that stay as they are: embeddings, and an output tied to one). Raises
        ModelError for a model that is quantized already.
        """
        facts = check_model(model_dir)
        if mode_of(model_dir) is not None:
            raise ModelError(f"{model_dir} has int8 weights already; quantize the model it is of.")
        out.mkdir(parents=True, exist_ok=True)
        stored, kept = _tensors(load_model(model_dir, _dtype(facts.dtype)))
        _save(stored, out / "model.safetensors")
        write_config(model_dir, out, self.mode)
        for pattern in _BESIDE:
            for path in sorted(model_dir.glob(pattern)):
                shutil.copyfile(path, out / path.name)
        metrics = _measure(out / "model.safetensors", facts.parameters, self.mode, kept)
        (out / "report.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        return Outcome(metrics=metrics)


def _dtype(stored: str) -> str:
    """Return the precision that what is not quantized keeps."""
    return "bfloat16" if stored == "BF16" else "float32"


def _tensors(model: PreTrainedModel) -> tuple[dict[str, Tensor], list[str]]:
    """Return what is written, by name, and which matrices were left as they are."""
    import torch

    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and f"{name}.weight" not in tied
    }
    stored: dict[str, Tensor] = {}
    kept = []
    for name, value in model.state_dict().items():
        if name in tied:
            continue
        if name in linear:
            stored[f"{name}{VALUES}"], stored[f"{name}{SCALE}"] = _int8(value)
        else:
            stored[name] = value.contiguous()
            kept += [name] if value.dim() > 1 else []
    return stored, kept


def _int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return torchao's int8 values, shape of the weight, and scales, shape (rows, 1)."""
    from torchao.quantization import Int8Tensor, PerRow

    made: Any = Int8Tensor.from_hp(weight.float(), granularity=PerRow())
    return made.qdata.contiguous(), made.scale.contiguous()


def _save(stored: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(dict(sorted(stored.items())), path, metadata={"format": "pt"})


def _measure(path: Path, weights: int, mode: str, kept: list[str]) -> dict[str, Any]:
    size = path.stat().st_size
    return {
        "type": f"int8 {mode}",
        "file": path.name,
        "bytes": size,
        "parameters": weights,
        "bits_per_weight": round(8 * size / weights, 4),
        "ratio": round(size / (4 * weights), 4),
        "kept": kept,
    }


@hookimpl
def register_quantizers() -> list[type[Quantizer]]:
    """Offer the technique."""
    return [TorchaoInt8]
