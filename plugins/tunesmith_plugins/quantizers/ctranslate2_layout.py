"""A Llama-like model in CTranslate2's terms: its network description, filled with the weights.

CTranslate2's own converter reads a model through transformers' modules; this one reads the tensors
by name, so that it does not hang on transformers' version. The description is that of
``ctranslate2.specs`` (https://opennmt.net/CTranslate2/python/ctranslate2.specs.html): the three
projections of attention are one matrix, rotary pairs stand half a head apart as they do here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith import ModelError
from tunesmith_plugins.quantizers.gguf_architectures import head_width, rope

if TYPE_CHECKING:
    from torch import Tensor

QK_NORM = {
    "LlamaForCausalLM": False,
    "MistralForCausalLM": False,
    "Qwen2ForCausalLM": False,
    "Qwen3ForCausalLM": True,
}
"""The architectures that can be written, and whether queries and keys are normalised."""


def objections(config: Mapping[str, Any]) -> list[str]:
    """Return why a model has no CTranslate2 form here; empty when it has."""
    name = (config.get("architectures") or ["an unnamed architecture"])[0]
    if name not in QK_NORM:
        return [
            f"{name} cannot be written for CTranslate2 yet. Supported: {', '.join(QK_NORM)}."
            " Run this model with the transformers engine."
        ]
    found = []
    if (activation := config.get("hidden_act", "silu")) != "silu":
        found.append(f"{name} with the activation {activation!r} has no form here; only silu.")
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if window and window < config["max_position_embeddings"]:
        found.append(f"{name} with a sliding window of {window} tokens has no form here.")
    if (kind := rope(dict(config))["rope_type"]) not in ("default", "linear"):
        found.append(f"{name} with rotary scaling {kind!r} has no form here: default, linear.")
    return found


def described(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], words: Sequence[str]
) -> Any:
    """Return the filled specification; ``weights`` are float32 tensors by transformers' names.

    ``words`` is the vocabulary, one distinct string per token id. Raises ModelError for a tensor
    that has no place in the network, or is missing.
    """
    left = dict(weights)
    spec = _empty(config)
    _fill(spec.decoder, config, left)
    left.pop("lm_head.weight", None)  # the embedding, where they are tied
    if left:
        raise ModelError(f"The tensor {min(left)} has no place in CTranslate2's network.")
    spec.register_vocabulary(list(words))
    return spec


def _empty(config: Mapping[str, Any]) -> Any:
    from ctranslate2.specs import attention_spec, common_spec, transformer_spec

    facts, heads = rope(dict(config)), config["num_attention_heads"]
    shared = config.get("num_key_value_heads") or heads
    linear = facts["rope_type"] == "linear"
    return transformer_spec.TransformerDecoderModelSpec.from_config(
        config["num_hidden_layers"],
        heads,
        activation=common_spec.Activation.SWISH,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=head_width(dict(config)),
        rotary_interleave=False,
        rotary_scaling_type=attention_spec.RotaryScalingType.Linear if linear else None,
        rotary_scaling_factor=facts.get("factor", 1),
        rotary_base=facts["rope_theta"],
        num_heads_kv=None if shared == heads else shared,
        head_dim=head_width(dict(config)),
        qk_norm=QK_NORM[config["architectures"][0]],
    )


def _fill(decoder: Any, config: Mapping[str, Any], left: dict[str, Tensor]) -> None:
    decoder.scale_embeddings = False
    embedding = _take(left, "model.embed_tokens.weight")
    decoder.embeddings.weight = embedding
    tied = config.get("tie_word_embeddings", False)
    decoder.projection.weight = embedding if tied else _take(left, "lm_head.weight")
    decoder.layer_norm.gamma = _take(left, "model.norm.weight")
    for number, layer in enumerate(decoder.layer):
        _fill_layer(layer, f"model.layers.{number}", left)


def _fill_layer(layer: Any, at: str, left: dict[str, Tensor]) -> None:
    attention, ffn = layer.self_attention, layer.ffn
    attention.layer_norm.gamma = _take(left, f"{at}.input_layernorm.weight")
    ffn.layer_norm.gamma = _take(left, f"{at}.post_attention_layernorm.weight")
    _linear(attention.linear[0], left, *(f"{at}.self_attn.{one}_proj" for one in "qkv"))
    _linear(attention.linear[1], left, f"{at}.self_attn.o_proj")
    _linear(ffn.linear_0, left, f"{at}.mlp.gate_proj")
    _linear(ffn.linear_0_noact, left, f"{at}.mlp.up_proj")
    _linear(ffn.linear_1, left, f"{at}.mlp.down_proj")
    if hasattr(attention, "q_norm"):
        attention.q_norm.gamma = _take(left, f"{at}.self_attn.q_norm.weight")
        attention.k_norm.gamma = _take(left, f"{at}.self_attn.k_norm.weight")


def _linear(spec: Any, left: dict[str, Tensor], *names: str) -> None:
    """Put several projections of one input under each other, and their biases where there are."""
    import torch

    spec.weight = torch.cat([_take(left, f"{name}.weight") for name in names])
    if f"{names[0]}.bias" in left:
        spec.bias = torch.cat([_take(left, f"{name}.bias") for name in names])


def _take(left: dict[str, Tensor], name: str) -> Tensor:
    if name not in left:
        raise ModelError(f"The tensor {name} is missing; the model is not what its config says.")
    return left.pop(name)
