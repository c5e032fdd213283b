"""What prompt tuning and prefix tuning share: virtual tokens, and that they cannot be merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunesmith import Adapter, ModelError
from tunesmith.adapted import reason

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class VirtualTokens(Adapter):
    """Positions before every prompt that no text could fill; the weights stay as they are."""

    needs: ClassVar[tuple[str, ...]] = ("peft",)
    mergeable: ClassVar[bool] = False

    num_virtual_tokens: int = Field(default=20, ge=1)
    """How many positions are learnt; the context is shorter by as many."""

    @property
    def positions(self) -> int:
        """How many positions of the model's context it takes up."""
        return self.num_virtual_tokens

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the PEFT model; ModelError when it does not fit."""
        from peft import get_peft_model

        try:
            return get_peft_model(model, self._config(model))
        except ValueError as error:
            raise ModelError(f"{self.name} does not fit this model: {error}") from error

    def _config(self, model: PreTrainedModel) -> Any:
        raise NotImplementedError

    def merge(self, model: Any) -> PreTrainedModel:
        """Raise ModelError: there is no weight that virtual tokens could be merged into."""
        raise ModelError(reason(self.name))
