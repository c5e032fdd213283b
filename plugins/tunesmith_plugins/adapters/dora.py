"""DoRA: weights taken apart into magnitude and direction (Liu et al. 2024, arXiv 2402.09353).

W' = m * (W + alpha/r * BA) / |W + alpha/r * BA|, norms per output row as PEFT stores weights (the
paper's columns); m is a vector that learns and starts as the norms of W. As in the paper's section
4.3 no gradient flows through the norm.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tunesmith import Adapter, hookimpl
from tunesmith_plugins.adapters.low_rank import LowRank


class Dora(LowRank):
    """Like lora, with the length of every weight vector learnt apart from its direction."""

    name: ClassVar[str] = "dora"
    variant: ClassVar[dict[str, Any]] = {"use_dora": True}


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [Dora]
