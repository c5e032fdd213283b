"""Which code computes attention: the same sums in another order, with less memory moved.

Source: Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning",
ICLR 2024, https://arxiv.org/abs/2307.08691.
"""

from __future__ import annotations

import importlib.util
from typing import Any, ClassVar, Literal

from tunesmith import Accelerator, ModelError, hookimpl

_FOR = {
    "sdpa": {"transformers": {"attention": "sdpa"}},
    "eager": {"transformers": {"attention": "eager"}},
    "flash_attention_2": {"transformers": {"attention": "flash_attention_2"}},
    "flash": {"llamacpp": {"flash_attention": "on"}},
    "no_flash": {"llamacpp": {"flash_attention": "off"}},
}


class Attention(Accelerator):
    """Choose the implementation of attention; answers stay the same where no two tokens tie."""

    name = "attention"
    engines: ClassVar[tuple[str, ...]] = ("transformers", "llamacpp")

    implementation: Literal["sdpa", "eager", "flash_attention_2", "flash", "no_flash"] = "sdpa"
    """For `transformers`: sdpa, eager, or flash_attention_2 (a GPU, half precision and the package
    flash-attn). For `llamacpp`: flash or no_flash; flash needs `exact: false`, because it changes
    the last bits of an answer with the company it keeps."""

    def options_for(self, engine: str) -> dict[str, Any]:
        """Return the engine options that switch it on; ModelError for another engine's choice."""
        choice = _FOR[self.implementation]
        if engine not in choice:
            known = [name for name, engines in _FOR.items() if engine in engines]
            raise ModelError(
                f"The engine {engine!r} has no attention {self.implementation!r};"
                f" it has {', '.join(known)}."
            )
        return dict(choice[engine])

    def problems(self) -> list[str]:
        """Return what is missing for the chosen implementation."""
        if self.implementation != "flash_attention_2" or importlib.util.find_spec("flash_attn"):
            return []
        return [
            "attention: flash_attention_2 needs the package flash-attn and a CUDA GPU:"
            " `pip install flash-attn`, or use sdpa."
        ]


@hookimpl
def register_accelerators() -> list[type[Accelerator]]:
    """Offer the technique."""
    return [Attention]
