"""Ancestral sampling: each token drawn from the model's own distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class RandomSampler(Sampler):
    """Draw from the model's distribution, unchanged."""

    name = "random"

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits as they are, shape (batch, vocabulary)."""
        return logits

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as the engine does: a temperature of 1 and nothing else."""
        if engine == "vllm":
            return {"temperature": 1.0}
        if engine == "ctranslate2":
            return {"sampling_topk": 0}
        if engine != "llamacpp":
            return None
        return {"samplers": ["temperature"], "temperature": 1.0}


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [RandomSampler]
