"""(IA)3: learnt vectors that rescale activations (Liu et al. 2022, arXiv 2205.05638).

Keys, values and the inner activations of the feed-forward network are multiplied element by element
with vectors that start at one, so that the model starts as itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith import Adapter, ModelError, hookimpl
from tunesmith_plugins.adapters.low_rank import merged, refuse_tied

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PAPER = ("k_proj", "v_proj", "down_proj")
"""Keys, values and the feed-forward's second layer, in the words of most of today's models."""


class Ia3(Adapter):
    """Train one factor per key, value and hidden activation: the fewest parameters of all."""

    name: ClassVar[str] = "ia3"
    needs: ClassVar[tuple[str, ...]] = ("peft",)

    target_modules: tuple[str, ...] = ()
    """Layers that are rescaled, by the ends of their names; empty: keys, values and the second
    layer of the feed-forward network."""
    feedforward_modules: tuple[str, ...] = ()
    """Those of them whose inputs are rescaled instead of their outputs."""

    def problems(self) -> list[str]:
        """Refuse a feed-forward layer that is no target."""
        loose = sorted(set(self.feedforward_modules) - set(self.target_modules))
        if not loose:
            return []
        return [f"ia3.feedforward_modules: add {', '.join(loose)} to target_modules as well."]

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the PEFT model; ModelError when a target does not exist or is tied."""
        from peft import IA3Config, get_peft_model

        refuse_tied(model, self.target_modules, self.name)
        try:
            return get_peft_model(model, IA3Config(task_type="CAUSAL_LM", **self._targets(model)))
        except ValueError as error:
            raise ModelError(f"ia3 does not fit this model: {error}") from error

    def _targets(self, model: PreTrainedModel) -> dict[str, Any]:
        if self.target_modules:
            ahead = list(self.feedforward_modules)
            return {"target_modules": list(self.target_modules), "feedforward_modules": ahead}
        ends = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        if set(_PAPER) <= ends:
            return {"target_modules": list(_PAPER), "feedforward_modules": [_PAPER[-1]]}
        return {}  # PEFT knows the names of other architectures, or says that they must be given

    def merge(self, model: Any) -> PreTrainedModel:
        """Return the plain model with the factors multiplied in, in fp32; ModelError on NaN."""
        return merged(model, self.name)


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [Ia3]
