"""Temperature: sharpen or flatten the distribution before drawing.

Source: Ackley, Hinton and Sejnowski, "A Learning Algorithm for Boltzmann Machines", Cognitive
Science 9, 1985: p_i is proportional to exp(logit_i / temperature).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Temperature(Sampler):
    """Divide the logits by a number: below 1 is bolder, above 1 is more varied."""

    name = "temperature"

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """What the logits are divided by; `greedy` is the limit at 0."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return logits / temperature, shape (batch, vocabulary)."""
        return logits / self.temperature

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as the engine does; CTranslate2's top 0 is the whole vocabulary."""
        if engine == "vllm":
            return {"temperature": self.temperature}
        if engine == "ctranslate2":
            return {"sampling_topk": 0, "sampling_temperature": self.temperature}
        if engine != "llamacpp":
            return None
        return {"samplers": ["temperature"], "temperature": self.temperature}


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [Temperature]
