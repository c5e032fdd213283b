"""Full fine-tuning: every weight learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith import Adapter, hookimpl

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Full(Adapter):
    """Train every weight; the strongest choice where memory allows it."""

    name: ClassVar[str] = "full"

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the model itself with every parameter trainable."""
        model.requires_grad_(True)
        return model

    def merge(self, model: Any) -> PreTrainedModel:
        """Return the model: there is nothing to merge."""
        plain: PreTrainedModel = model
        return plain


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [Full]
