"""int4 weights for a CUDA GPU, computed by torchao.

Weights of a row share a scale and a zero point by groups; 16 steps lie between the smallest and
the largest of a group, and the kernel (tinygemm) multiplies bfloat16 activations by the weights it
unpacks. What that costs, and that smaller groups cost less: Dettmers and Zettlemoyer, ICML 2023,
https://arxiv.org/abs/2212.09720, section 5. The numbers are torchao's:
https://github.com/pytorch/ao (`Int4WeightOnlyConfig`, packing `tile_packed_to_4d`, which needs
nothing but torch; torchao's default packing needs the package mslk).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunesmith import ModelError, Outcome, Quantizer, hookimpl
from tunesmith.adapted import refuse_adapted
from tunesmith.int4_weights import SCALES, VALUES, parts_of, why_not_here, write_config
from tunesmith.model_facts import read_json
from tunesmith.models import check_model, load_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_BESIDE = ("generation_config.json", "chat_template.*", "tokenizer*", "special_*", "vocab.*",
           "merges.txt", "spiece.model", "added_tokens.json")  # fmt: skip


class TorchaoInt4(Quantizer):
    """Store linear layers in int4 for a CUDA GPU; runs on the engine `transformers` with torchao.

    Refused on a machine without such a GPU: torchao has no int4 for a CPU that could be stored.
    """

    name = "torchao_int4"
    engine: ClassVar[str] = "transformers"
    needs: ClassVar[tuple[str, ...]] = ("torchao",)

    group_size: Literal[32, 64, 128, 256] = 128
    """How many weights of a row share a scale and a zero point; fewer are nearer to the model and
    take more room: 5.0 bits per weight at 32, 4.25 at 128."""

    def lacks(self) -> list[str]:
        """Say so where there is no GPU for it."""
        reason = why_not_here()
        return [f"torchao_int4: {reason}"] if reason else []

    def problems_with_model(self, folder: Path) -> list[str]:
        """Refuse a model that is quantized already."""
        found = read_json(folder / "config.json").get("quantization_config")
        return [f"{folder} is quantized already; quantize the model it is of."] if found else []

    def config(self) -> Any:
        """Return torchao's own config of what is done to each layer."""
        from torchao.quantization import Int4WeightOnlyConfig
        from torchao.quantization.quantize_.workflows import Int4PackingFormat

        return Int4WeightOnlyConfig(
            group_size=self.group_size,
            int4_packing_format=Int4PackingFormat.TILE_PACKED_TO_4D,
            set_inductor_config=False,  # a setting of the whole process, and nothing is compiled
        )

    def quantize(self, model_dir: Path, out: Path) -> Outcome:
        """Write ``model.safetensors`` (int4, scales, zeros), config, tokenizer, ``report.json``.

        Metrics: ``bytes``, ``bits_per_weight``, ``ratio`` to the same weights in fp32, ``kept``
        (matrices that stay in bfloat16: embeddings, and an output tied to one) and ``fallbacks``
        (linear layers that stay so because their rows do not divide into groups). Raises ModelError
        where there is no GPU for it, for a quantized model, and when no layer can be rounded.
        """
        if reason := why_not_here():
            raise ModelError(f"torchao_int4: {reason}")
        facts = check_model(model_dir)
        refuse_adapted(model_dir, "torchao_int4 stores weights")
        if problems := self.problems_with_model(model_dir):
            raise ModelError(problems[0])
        model = load_model(model_dir, "bfloat16")
        layers, fallbacks = divided(model, self.group_size)
        if not layers:
            raise ModelError(
                f"No linear layer of {model_dir} has rows that divide into groups of"
                f" {self.group_size} ({fallbacks[0]}). Choose a smaller group_size."
            )
        self._round(model, layers)
        stored = _stored(model, layers)
        out.mkdir(parents=True, exist_ok=True)
        _write(stored, model_dir, out, self.group_size)
        metrics = self._measured(out / "model.safetensors", facts.parameters, stored, fallbacks)
        (out / "report.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        return Outcome(metrics=metrics)

    def _round(self, model: PreTrainedModel, layers: list[str]) -> None:
        from torchao.quantization import quantize_

        chosen = set(layers)
        # `device` moves one layer at a time, so that the GPU never holds the unrounded model.
        quantize_(model, self.config(), lambda _, name: name in chosen, device="cuda")

    def _measured(
        self, path: Path, weights: int, stored: dict[str, Tensor], fallbacks: list[str]
    ) -> dict[str, Any]:
        size = path.stat().st_size
        parts = (VALUES, SCALES)
        plain = [n for n, w in stored.items() if w.dim() > 1 and not n.endswith(parts)]
        return {
            "type": f"int4 groups of {self.group_size}",
            "file": path.name,
            "bytes": size,
            "parameters": weights,
            "bits_per_weight": round(8 * size / weights, 4),
            "ratio": round(size / (4 * weights), 4),
            "kept": sorted(plain),
            "fallbacks": fallbacks,
        }


def divided(model: PreTrainedModel, group: int) -> tuple[list[str], list[str]]:
    """Return the linear layers that can be rounded, and in words those whose rows cannot.

    torchao leaves out the latter and says so in a log that nobody reads.
    """
    import torch

    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    layers, fallbacks = [], []
    for name, module in model.named_modules():
        if type(module) is not torch.nn.Linear or f"{name}.weight" in tied:
            continue
        if module.in_features % group:
            fallbacks.append(f"{name}: rows of {module.in_features}")
        else:
            layers.append(name)
    return layers, fallbacks


def _stored(model: PreTrainedModel, layers: list[str]) -> dict[str, Tensor]:
    """Return what is written, by name: two parts of each rounded weight, the rest as it is."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    rounded = {f"{name}.weight" for name in layers}
    stored: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if name in tied:
            continue
        if name in rounded:
            stored[f"{name}{VALUES}"], stored[f"{name}{SCALES}"] = parts_of(value)
        else:
            stored[name] = value.cpu().contiguous()
    return stored


def _write(stored: dict[str, Tensor], model_dir: Path, out: Path, group: int) -> None:
    from safetensors.torch import save_file

    save_file(dict(sorted(stored.items())), out / "model.safetensors", metadata={"format": "pt"})
    write_config(model_dir, out, group)
    for pattern in _BESIDE:
        for path in sorted(model_dir.glob(pattern)):
            shutil.copyfile(path, out / path.name)


@hookimpl
def register_quantizers() -> list[type[Quantizer]]:
    """Offer the technique."""
    return [TorchaoInt4]
