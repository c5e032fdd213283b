"""Prompt tuning: learnt embeddings before the prompt (Lester et al. 2021, arXiv 2104.08691)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tunesmith import Adapter, ModelError, hookimpl
from tunesmith.models import load_tokenizer
from tunesmith_plugins.adapters.virtual_tokens import VirtualTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PromptTuning(VirtualTokens):
    """Train the embeddings of a few tokens before every prompt, and nothing else."""

    name: ClassVar[str] = "prompt_tuning"

    prompt_tuning_init: Literal["sample_vocab", "random", "text"] = "sample_vocab"
    """Where the embeddings start: at tokens drawn from the vocabulary, at random, or at a text."""
    prompt_tuning_init_text: str = ""
    """The text for `text`, such as an instruction; repeated or cut to fit."""

    def problems(self) -> list[str]:
        """Refuse a start from a text that is not there, and a text that nobody reads."""
        if (self.prompt_tuning_init == "text") == bool(self.prompt_tuning_init_text):
            return []
        return [
            "prompt_tuning: prompt_tuning_init: text and prompt_tuning_init_text belong together;"
            " give both or neither."
        ]

    def wrap(self, model: PreTrainedModel) -> Any:
        """Return the PEFT model; ModelError when it does not fit."""
        if found := self.problems():
            raise ModelError(found[0])
        wrapped = super().wrap(model)
        if self.prompt_tuning_init == "text":
            self._start_from_text(wrapped, model)
        return wrapped

    def _config(self, model: PreTrainedModel) -> Any:
        from peft import PromptTuningConfig

        # PEFT's own TEXT would write the tokenizer's place on this machine into the artifact.
        start = "SAMPLE_VOCAB" if self.prompt_tuning_init == "sample_vocab" else "RANDOM"
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.num_virtual_tokens,
            prompt_tuning_init=start,
        )

    def _start_from_text(self, wrapped: Any, model: Any) -> None:
        import torch

        tokenizer = load_tokenizer(Path(model.name_or_path))
        ids = tokenizer(self.prompt_tuning_init_text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ModelError("prompt_tuning_init_text holds no token.")
        chosen = [ids[at % len(ids)] for at in range(self.num_virtual_tokens)]
        learnt = wrapped.prompt_encoder[wrapped.active_adapter].embedding.weight
        with torch.no_grad():
            where = torch.tensor(chosen, device=learnt.device)
            learnt.copy_(model.get_input_embeddings()(where))


@hookimpl
def register_adapters() -> list[type[Adapter]]:
    """Offer the adapter."""
    return [PromptTuning]
