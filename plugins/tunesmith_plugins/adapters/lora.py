"""LoRA: small low-rank matrices beside the frozen weights (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

from typing import ClassVar

from tunesmith import Adapter, hookimpl
from tunesmith_plugins.adapters.low_rank import LowRank


class Lora(LowRank):
    """Train low-rank updates of the linear layers; the base stays as it is until the merge."""

    name: ClassVar[str] = "lora"


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [Lora]
