"""The architectures that can be written as GGUF, and what llama.cpp must be told of each.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The conventions for each
architecture (tensor names, order of rotary dimensions) are those of llama.cpp's own
convert_hf_to_gguf.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith import ModelError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture in llama.cpp's terms."""

    gguf: str
    """llama.cpp's name for it."""
    interleaved: bool
    """Whether rotary pairs stand side by side there, and not half a head apart as here."""


ARCHITECTURES = {
    "LlamaForCausalLM": Architecture("llama", interleaved=True),
    "MistralForCausalLM": Architecture("llama", interleaved=True),
    "Qwen2ForCausalLM": Architecture("qwen2", interleaved=False),
    "Qwen3ForCausalLM": Architecture("qwen3", interleaved=False),
}


def architecture_of(config: dict[str, Any]) -> Architecture:
    """Return how to write a model; raise ModelError for one that would come out wrong."""
    name = (config.get("architectures") or ["an unnamed architecture"])[0]
    if name not in ARCHITECTURES:
        raise ModelError(
            f"{name} cannot be written as GGUF yet. Supported: {', '.join(sorted(ARCHITECTURES))}."
            " Serve this model with the transformers engine."
        )
    _refuse_unknown_parts(name, config)
    return ARCHITECTURES[name]


def _refuse_unknown_parts(name: str, config: dict[str, Any]) -> None:
    context = config["max_position_embeddings"]
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise ModelError(f"{name} with the activation {activation!r} has no GGUF form; only silu.")
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if window and window < context:
        raise ModelError(
            f"{name} with a sliding window of {window} tokens in a context of {context} has no GGUF"
            " form here; serve it with the transformers engine."
        )
    kind = rope(config)["rope_type"]
    if kind not in ("default", "linear", "llama3"):
        raise ModelError(
            f"{name} with rotary scaling {kind!r} has no GGUF form here;"
            " supported: default, linear, llama3."
        )


def rope(config: dict[str, Any]) -> dict[str, Any]:
    """Return the rotary parameters, in transformers 5's names whichever version wrote them."""
    found = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    found.setdefault("rope_type", found.get("type", "default"))
    return found


def head_width(config: dict[str, Any]) -> int:
    """Return the size of one attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def describe(writer: GGUFWriter, config: dict[str, Any]) -> None:
    """Write what llama.cpp needs to build the network."""
    heads = config["num_attention_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_width(config))
    writer.add_value_length(head_width(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    _describe_rope(writer, config)


def _describe_rope(writer: GGUFWriter, config: dict[str, Any]) -> None:
    from gguf import RopeScalingType

    facts = rope(config)
    writer.add_rope_dimension_count(head_width(config))
    writer.add_rope_freq_base(facts["rope_theta"])
    if facts["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(facts["factor"])


def rope_factors(config: dict[str, Any]) -> list[float] | None:
    """Return what llama3 scaling divides each rotary frequency by, or None for other kinds.

    Source: transformers' ``_compute_llama3_parameters``.
    """
    facts = rope(config)
    if facts["rope_type"] != "llama3":
        return None
    width = head_width(config)
    frequencies = [facts["rope_theta"] ** (-i / width) for i in range(0, width, 2)]
    return [_llama3_factor(2 * math.pi / frequency, facts) for frequency in frequencies]


def _llama3_factor(wavelength: float, facts: dict[str, Any]) -> float:
    low, high = facts["low_freq_factor"], facts["high_freq_factor"]
    turns = facts["original_max_position_embeddings"] / wavelength
    if turns > high:
        return 1.0
    if turns < low:
        return float(facts["factor"])
    smooth = (turns - low) / (high - low)
    return float(1 / ((1 - smooth) / facts["factor"] + smooth))


def in_gguf_order(name: str, tensor: Tensor, config: dict[str, Any]) -> Tensor:
    """Return a tensor as llama.cpp wants it: rotary pairs of q and k side by side."""
    heads = config["num_attention_heads"]
    if ".k_proj." in name:
        heads = config.get("num_key_value_heads") or heads
    elif ".q_proj." not in name:
        return tensor
    rest = tensor.shape[1:]
    half = tensor.shape[0] // heads // 2
    return tensor.reshape(heads, 2, half, *rest).transpose(1, 2).reshape(tensor.shape)
