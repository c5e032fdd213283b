"""Greedy decoding: the most probable token at every step, nothing left to chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Greedy(Sampler):
    """Take the largest logit."""

    name = "greedy"
    draws = False

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits as they are, shape (batch, vocabulary)."""
        return logits

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as the engine does; in llama.cpp only the largest logit survives a 0."""
        if engine == "vllm":
            return {"temperature": 0.0}
        if engine == "ctranslate2":
            return {"sampling_topk": 1}
        if engine != "llamacpp":
            return None
        return {"samplers": ["temperature"], "temperature": 0.0}


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [Greedy]
