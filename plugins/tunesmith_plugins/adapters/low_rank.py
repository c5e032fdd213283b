"""What the low-rank adapters share: their options, what they target, and the merge in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunesmith import Adapter, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LowRank(Adapter):
    """Two small matrices beside each frozen linear layer, on PEFT; subclasses say what differs."""

    needs: ClassVar[tuple[str, ...]] = ("peft",)
    variant: ClassVar[dict[str, Any]] = {}
    """What PEFT's LoraConfig is told besides the options."""

    r: int = Field(default=16, ge=1)
    """Rank of the updates: more learns more and costs more."""
    alpha: float = Field(default=32.0, gt=0)
    """Strength of the updates; they are scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an update's inputs that is dropped while training."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Which layers get an update, by the ends of their names; `all-linear` is all but the head."""

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the PEFT model; ModelError when a target does not exist or is tied."""
        from peft import LoraConfig, get_peft_model

        refuse_tied(model, self.target_modules, self.name)
        try:
            return get_peft_model(model, LoraConfig(**self._config()))
        except ValueError as error:
            raise ModelError(f"{self.name} does not fit this model: {error}") from error

    def _config(self) -> dict[str, Any]:
        names = self.target_modules
        return {
            "task_type": "CAUSAL_LM",
            "r": self.r,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": names if isinstance(names, str) else list(names),
            **self.variant,
        }

    def merge(self, model: Any) -> PreTrainedModel:
        """Return the plain model with the updates added in fp32; ModelError on NaN."""
        return merged(model, self.name)


def merged(model: Any, name: str) -> PreTrainedModel:
    """Return the plain model with a PEFT adapter in its weights; ModelError on NaN."""
    try:
        plain: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ModelError(f"What {name} learnt cannot be merged: {error}") from error
    return plain


def refuse_tied(model: PreTrainedModel, targets: str | Sequence[str], name: str) -> None:
    """Raise ModelError when a target shares its weights with another module."""
    if isinstance(targets, str) or not model.config.tie_word_embeddings:
        return
    plain: Any = model
    ends = {id(plain.get_input_embeddings()), id(plain.get_output_embeddings())}
    tied = [
        path
        for path, module in model.named_modules()
        if id(module) in ends and path.endswith(tuple(targets))
    ]
    if tied:
        raise ModelError(
            f"{name} cannot target {', '.join(tied)}: this model's embeddings and head share"
            " their weights, and a merge would change both. Remove them from target_modules."
        )
