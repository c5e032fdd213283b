"""Top-k sampling: draw among the k most probable tokens.

Source: Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation", ACL 2018, section 5.1,
https://arxiv.org/abs/1805.04833.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class TopK(Sampler):
    """Keep the k largest logits, after the temperature."""

    name = "top_k"

    k: int = Field(default=40, ge=1)
    """How many tokens may be drawn; the lower id wins a tie for the last place."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """What the logits are divided by first."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits with all but k set to -inf, shape (batch, vocabulary)."""
        order = logits.argsort(dim=-1, descending=True, stable=True)
        dropped = order[:, self.k :]
        return (logits / self.temperature).scatter(-1, dropped, float("-inf"))

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as the engine does."""
        if engine == "vllm":
            return {"temperature": self.temperature, "top_k": self.k}
        if engine == "ctranslate2":
            return {"sampling_topk": self.k, "sampling_temperature": self.temperature}
        if engine != "llamacpp":
            return None
        return {
            "samplers": ["temperature", "top_k"],
            "temperature": self.temperature,
            "top_k": self.k,
        }


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [TopK]
