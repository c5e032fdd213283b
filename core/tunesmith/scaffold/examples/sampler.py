"""Epsilon sampling: drop tokens below an absolute probability.

Source: Hewitt, Manning and Liang, "Truncation Sampling as Language Model Desmoothing", 2022,
https://arxiv.org/abs/2210.15191.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tunesmith import Sampler, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Example(Sampler):
    """Keep tokens whose probability is at least epsilon, and always the most probable one."""

    name = "example"
    epsilon: float = Field(default=3e-4, gt=0, lt=1)
    """The least probability a token may have."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits with unlikely tokens at -inf, shape (batch, vocabulary)."""
        p = logits.softmax(dim=-1)
        best = p.amax(dim=-1, keepdim=True)
        return logits.masked_fill((p < self.epsilon) & (p < best), float("-inf"))


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the sampler."""
    return [Example]
