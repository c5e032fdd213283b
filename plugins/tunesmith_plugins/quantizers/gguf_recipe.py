"""Which type each tensor of a GGUF file is stored as.

q4_k_m is a mixture, and this is llama.cpp's own rule for it (``llama_tensor_get_type`` in
https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp, without an importance
matrix): the output matrix and, in half of the layers, the value and down projections have q6_k;
everything else has q4_k.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_NARROWER = {"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}
"""What takes the place of blocks of 256 where a row does not divide into them: blocks of 32."""
_BLOCKS = {"q4_0": 32, "q5_0": 32, "q5_1": 32, "q8_0": 32, "q4_k": 256, "q5_k": 256, "q6_k": 256}


@dataclass(frozen=True, slots=True)
class Stored:
    """How a tensor is stored, and whether its rows ruled out what it should have had."""

    type: str
    fell_back: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """One file's mixture of types."""

    wanted: str
    layers: int
    output: str
    """The output matrix: the embedding itself where the two are tied."""
    many_share_values: bool = False
    """Whether eight heads share one value projection (llama.cpp's rule for 70B models)."""

    @classmethod
    def of(cls, wanted: str, architecture: str, config: dict[str, Any]) -> Recipe:
        """Return the recipe for a model's config; ``architecture`` is llama.cpp's name."""
        layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
        grouped = (config.get("num_key_value_heads") or heads) != heads
        seventy = layers == 80 and (
            architecture == "qwen2" or (architecture == "llama" and grouped)
        )
        tied = config.get("tie_word_embeddings")
        output = "token_embd.weight" if tied else "output.weight"
        return cls(wanted, layers, output, seventy)

    @property
    def is_mixture(self) -> bool:
        """Say whether matrices of one file may differ in their type beyond the output."""
        return self.wanted == "q4_k_m"

    def stored(self, name: str, shape: tuple[int, ...]) -> Stored:
        """Return how the tensor ``name`` (in GGUF's words) of this shape is stored."""
        if len(shape) < 2:
            return Stored("f32")
        return _fitting(self._mixed(name) if self.is_mixture else self._plain(name), shape[-1])

    def _plain(self, name: str) -> str:
        return "q8_0" if self.wanted == "q4_0" and name == self.output else self.wanted

    def _mixed(self, name: str) -> str:
        if name == self.output:
            return "q6_k"
        layer = re.match(r"blk\.(\d+)\.(attn_v|ffn_down)\.weight$", name)
        if layer is None:
            return "q4_k"
        if _wants_more_bits(int(layer[1]), self.layers):
            return "q6_k"
        return "q5_k" if self.many_share_values and layer[2] == "attn_v" else "q4_k"


def _wants_more_bits(layer: int, layers: int) -> bool:
    """Say whether a layer is of the first or last eighth, or every third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(wanted: str, row: int) -> Stored:
    """Return the type, or the next one whose blocks a row of this length divides into."""
    kind = wanted
    while kind in _BLOCKS and row % _BLOCKS[kind]:
        kind = _NARROWER.get(kind, "f16")
    return Stored(kind, fell_back=kind != wanted)
