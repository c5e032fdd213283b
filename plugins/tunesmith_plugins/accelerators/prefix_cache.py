"""Prefix caching: what two prompts begin with is computed once.

Source: Zheng et al., "SGLang: Efficient Execution of Structured Language Model Programs", NeurIPS
2024, section 3 (RadixAttention), https://arxiv.org/abs/2312.07104. llama.cpp keeps the last prompt
of each slot and gives a new one to the slot that it has most in common with.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tunesmith import Accelerator, hookimpl


class PrefixCache(Accelerator):
    """Reuse the keys and values of a prompt's beginning; answers stay the same."""

    name = "prefix_cache"
    engine: ClassVar[str] = "llamacpp"

    def options(self) -> dict[str, Any]:
        """Return the engine options that switch it on."""
        return {"cache_prompt": True}


@hookimpl
def register_accelerators() -> list[type[Accelerator]]:
    """Offer the technique."""
    return [PrefixCache]
