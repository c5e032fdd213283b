"""Rank-stabilised LoRA: updates scaled by alpha / sqrt(r) (Kalajdzievski 2023, arXiv 2312.03732).

With LoRA's alpha / r the updates shrink as the rank grows, so that high ranks learn no more than
low ones; the square root keeps their size the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from tunesmith import Adapter, hookimpl
from tunesmith_plugins.adapters.low_rank import LowRank


class RsLora(LowRank):
    """Like lora, scaled so that a higher rank really learns more."""

    name: ClassVar[str] = "rslora"
    variant: ClassVar[dict[str, Any]] = {"use_rslora": True}

    r: int = Field(default=64, ge=1)
    """Rank of the updates; the square root pays from about 32 on."""
    alpha: float = Field(default=16.0, gt=0)
    """Strength of the updates; they are scaled by alpha / sqrt(r)."""


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [RsLora]
