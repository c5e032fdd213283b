"""QLoRA: LoRA over a base held in 4 bits (Dettmers et al. 2023, arXiv 2305.14314).

Weights are stored as 4-bit NormalFloat in blocks, the blocks' scales are quantized in turn (double
quantization), and gradients flow through them into LoRA's matrices. What is trained is the update
of the *rounded* base, so the merge takes the rounded weights back to fp32 and adds to those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunesmith import Adapter, ModelError, hookimpl
from tunesmith_plugins.adapters.low_rank import LowRank

if TYPE_CHECKING:
    from torch.nn import Linear, Module
    from transformers import PreTrainedModel


class QLora(LowRank):
    """Train lora's updates over weights of 4 bits: large models on small machines."""

    name: ClassVar[str] = "qlora"
    needs: ClassVar[tuple[str, ...]] = ("peft", "bitsandbytes")

    quant_type: Literal["nf4", "fp4"] = "nf4"
    """The 4-bit numbers: NormalFloat, made for weights, or plain floats."""
    double_quant: bool = True
    """Quantize the scales of the blocks as well: 0.4 bits per weight less."""

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the PEFT model over 4-bit layers; ModelError when a target does not fit.

        Every linear layer but the head is rounded, whether or not it is a target.
        """
        plain: Any = model
        inner = _linears(model)
        if not inner:
            raise ModelError(
                f"qlora does not fit this model: {type(model).__name__} has no linear layers that"
                " bitsandbytes could round. Use lora."
            )
        for name, layer in inner:
            model.set_submodule(name, self._rounded(layer), strict=True)
        plain.is_loaded_in_4bit = True  # how PEFT asks which kind of layers it meets
        return super().wrap(model)

    def _rounded(self, layer: Linear) -> Module:
        from bitsandbytes.nn import Linear4bit

        small = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=layer.weight.dtype,
            compress_statistics=self.double_quant,
            quant_type=self.quant_type,
            device="meta",
        )
        small.weight = type(small.weight)(
            layer.weight.data,
            requires_grad=False,
            compress_statistics=self.double_quant,
            quant_type=self.quant_type,
            module=small,
        )
        small.bias = layer.bias
        # On some CPUs it would round the blocks' scales to bf16 and pack the weights anew as soon
        # as a model is evaluated: another function than the one that is trained and merged.
        small.support_avx512bf16_for_cpu = False
        rounded: Module = small.to(layer.weight.device)  # the move is what quantizes
        return rounded

    def merge(self, model: Any) -> PreTrainedModel:
        """Return a plain fp32 model: the rounded weights, plus the updates; ModelError on NaN."""
        from bitsandbytes.nn import Linear4bit
        from peft.tuners.lora import LoraLayer

        plain = model.get_base_model()
        for name, layer in list(plain.named_modules()):
            if isinstance(layer, LoraLayer):
                plain.set_submodule(name, _merged(layer, model.active_adapter))
        for name, layer in list(plain.named_modules()):
            if isinstance(layer, Linear4bit):
                plain.set_submodule(name, _whole(layer))
        for left_over in ("peft_config", "is_loaded_in_4bit"):
            delattr(plain, left_over)
        merged: PreTrainedModel = plain
        return merged


def _linears(model: Any) -> list[tuple[str, Linear]]:
    """Return every linear layer but the head, with its name."""
    from torch.nn import Linear

    head, found = model.get_output_embeddings(), model.named_modules()
    return [(name, one) for name, one in found if isinstance(one, Linear) and one is not head]


def _merged(layer: Any, adapter: str) -> Module:
    """Return a layer with its update in its weights; ModelError on NaN."""
    inner: Any = layer.get_base_layer()
    if hasattr(inner.weight, "quant_state"):
        return _whole(inner, layer.get_delta_weight(adapter))
    try:
        layer.merge(safe_merge=True)  # the head, where it is a target
    except ValueError as error:
        raise ModelError(f"The qlora updates cannot be merged: {error}") from error
    head: Module = inner
    return head


def _whole(layer: Any, update: Any = 0.0) -> Linear:
    """Return a 4-bit layer in fp32 with an update added; ModelError when that is no number."""
    from bitsandbytes.functional import dequantize_4bit
    from torch.nn import Linear, Parameter

    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float() + update
    if not bool(weight.isfinite().all()):
        raise ModelError("The qlora updates cannot be merged: they hold NaN or infinity.")
    whole = Linear(
        layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta"
    )
    whole.weight, whole.bias = Parameter(weight, requires_grad=False), layer.bias
    return whole


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [QLora]
