"""Nucleus sampling: draw among the fewest tokens that together hold the mass p.

Source: Holtzman, Buys, Du, Forbes and Choi, "The Curious Case of Neural Text Degeneration",
ICLR 2020, section 3.1, https://arxiv.org/abs/1904.09751.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class TopP(Sampler):
    """Keep the smallest set of most probable tokens whose mass reaches p, after the temperature."""

    name = "top_p"

    p: float = Field(default=0.9, gt=0, le=1)
    """The probability that the kept tokens reach together."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """What the logits are divided by first."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits with the tail set to -inf, shape (batch, vocabulary)."""
        warmed = logits / self.temperature
        ranked, order = warmed.double().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        before = ranked.cumsum(dim=-1) - ranked
        dropped = (before >= self.p).gather(-1, order.argsort(dim=-1))
        return warmed.masked_fill(dropped, float("-inf"))

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as the engine does; both warm the logits before they cut the tail."""
        if engine == "vllm":
            return {"temperature": self.temperature, "top_p": self.p}
        if engine == "ctranslate2":
            return {
                "sampling_topk": 0,
                "sampling_topp": self.p,
                "sampling_temperature": self.temperature,
            }
        if engine != "llamacpp":
            return None
        return {
            "samplers": ["temperature", "top_p"],
            "temperature": self.temperature,
            "top_p": self.p,
        }


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [TopP]
