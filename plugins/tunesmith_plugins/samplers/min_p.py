"""Min-p sampling: draw among the tokens at least p times as probable as the best one.

Source: Nguyen, Baker, Neo, Roush, Kirsch and Shwartz-Ziv, "Turning Up the Heat: Min-p Sampling for
Creative and Coherent LLM Outputs", ICLR 2025, section 3, https://arxiv.org/abs/2407.01082.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class MinP(Sampler):
    """Keep tokens whose probability is at least p times the largest one, after the temperature."""

    name = "min_p"

    p: float = Field(default=0.05, ge=0, le=1)
    """The share of the largest probability that a token must reach."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """What the logits are divided by first."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits with unlikely tokens set to -inf, shape (batch, vocabulary)."""
        warmed = logits / self.temperature
        shares = (warmed - warmed.amax(dim=-1, keepdim=True)).double().exp()
        return warmed.masked_fill(shares < self.p, float("-inf"))

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as llama.cpp and vLLM do; both apply the temperature first."""
        if engine == "vllm":
            return {"temperature": self.temperature, "min_p": self.p}
        if engine != "llamacpp":
            return None
        return {
            "samplers": ["temperature", "min_p"],
            "temperature": self.temperature,
            "min_p": self.p,
        }


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [MinP]
