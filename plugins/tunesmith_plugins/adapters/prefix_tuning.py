"""Prefix tuning: learnt keys and values before the prompt (Li & Liang 2021, arXiv 2101.00190).

Every layer gets its own keys and values. They are made by a small network while they learn, which
the paper found steadier than learning them as such; only what it makes is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunesmith import Adapter, hookimpl
from tunesmith_plugins.adapters.virtual_tokens import VirtualTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PrefixTuning(VirtualTokens):
    """Train keys and values that every layer attends to before the prompt."""

    name: ClassVar[str] = "prefix_tuning"

    prefix_projection: bool = True
    """Learn them through a two-layer network, as in the paper."""
    encoder_hidden_size: int = Field(default=512, ge=1)
    """Width of that network."""

    def _config(self, model: PreTrainedModel) -> Any:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.num_virtual_tokens,
            prefix_projection=self.prefix_projection,
            encoder_hidden_size=self.encoder_hidden_size,
        )


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [PrefixTuning]
