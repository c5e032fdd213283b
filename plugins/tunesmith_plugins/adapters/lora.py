"""LoRA: small low-rank matrices beside the frozen weights (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunesmith import Adapter, ModelError, hookimpl

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Lora(Adapter):
    """Train low-rank updates of the linear layers; the base stays as it is until the merge."""

    name: ClassVar[str] = "lora"
    needs: ClassVar[tuple[str, ...]] = ("peft",)

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

        self._refuse_tied(model)
        try:
            return get_peft_model(model, LoraConfig(**self._config()))
        except ValueError as error:
            raise ModelError(f"LoRA does not fit this model: {error}") from error

    def _config(self) -> dict[str, Any]:
        names = self.target_modules
        return {
            "task_type": "CAUSAL_LM",
            "r": self.r,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": names if isinstance(names, str) else list(names),
        }

    def _refuse_tied(self, model: PreTrainedModel) -> None:
        if isinstance(self.target_modules, str) or not model.config.tie_word_embeddings:
            return
        plain: Any = model
        ends = {id(plain.get_input_embeddings()), id(plain.get_output_embeddings())}
        tied = [
            name
            for name, module in model.named_modules()
            if id(module) in ends and name.endswith(self.target_modules)
        ]
        if tied:
            raise ModelError(
                f"LoRA cannot target {', '.join(tied)}: this model's embeddings and head share"
                " their weights, and a merge would change both. Remove them from target_modules."
            )

    def merge(self, model: Any) -> PreTrainedModel:
        """Return the plain model with the updates added in fp32; ModelError on NaN."""
        try:
            merged: PreTrainedModel = model.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise ModelError(f"The LoRA updates cannot be merged: {error}") from error
        return merged


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [Lora]
