"""Locally typical sampling: draw among the tokens about as surprising as one expects.

Source: Meister, Pimentel, Wiher and Cotterell, "Locally Typical Sampling", TACL 11, 2023,
section 5, https://arxiv.org/abs/2202.00666.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Typical(Sampler):
    """Keep the tokens whose surprise is nearest the entropy, until they hold the mass."""

    name = "typical"

    mass: float = Field(default=0.9, gt=0, le=1)
    """The probability that the kept tokens reach together; other libraries call it `typical_p`."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """What the logits are divided by first."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits with untypical tokens set to -inf, shape (batch, vocabulary).

        The best token may be among them. Of two tokens that are equally far, the lower id stays.
        """
        import torch

        warmed = logits / self.temperature
        logs = warmed.double().log_softmax(dim=-1)
        shares = logs.exp()
        entropy = torch.special.entr(shares).sum(dim=-1, keepdim=True)
        order = (-logs - entropy).abs().argsort(dim=-1, stable=True)
        ranked = shares.gather(-1, order)
        before = ranked.cumsum(dim=-1) - ranked
        dropped = (before >= self.mass).gather(-1, order.argsort(dim=-1))
        return warmed.masked_fill(dropped, float("-inf"))

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as llama.cpp does, whose sampler has another name than its option."""
        if engine != "llamacpp":
            return None
        return {
            "samplers": ["temperature", "typ_p"],
            "temperature": self.temperature,
            "typical_p": self.mass,
        }


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [Typical]
