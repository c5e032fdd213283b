"""Train the norms alone (Zhao et al. 2023, "Tuning LayerNorm in Attention", arXiv 2312.11420)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith import Adapter, ModelError, hookimpl

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Example(Adapter):
    """Train the parameters whose names hold a word, by default the norms; freeze all others."""

    name = "example"
    part: str = "norm"
    """What the names of the parameters that learn have in common."""

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the model itself; raise ModelError when no parameter has such a name."""
        model.requires_grad_(False)
        chosen = [one for name, one in model.named_parameters() if self.part in name]
        if not chosen:
            raise ModelError(f"No parameter of this model has {self.part!r} in its name.")
        for one in chosen:
            one.requires_grad_(True)
        return model

    def merge(self, model: Any) -> PreTrainedModel:
        """Return the model: what learnt is part of it already."""
        plain: PreTrainedModel = model
        return plain


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [Example]
