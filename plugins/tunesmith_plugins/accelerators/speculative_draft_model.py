"""A small model writes ahead, and the model itself checks what it wrote.

Sources: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", ICML 2023,
https://arxiv.org/abs/2211.17192; Chen et al., "Accelerating Large Language Model Decoding with
Speculative Sampling", 2023, https://arxiv.org/abs/2302.01318. Greedy answers are the model's own;
drawn ones come from its distribution, by other draws than without.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from tunesmith import Accelerator, ModelError, hookimpl
from tunesmith.generation.drafting import check_draft
from tunesmith.models import resolve_model, weights_digest


class SpeculativeDraftModel(Accelerator):
    """Let a smaller model of the same tokenizer write ahead; the model checks it in one step."""

    name = "speculative_draft_model"
    engines: ClassVar[tuple[str, ...]] = ("transformers", "llamacpp")

    model: str
    """The smaller model: a folder, a built-in one, or a Hub id. For `llamacpp` the folder holds one
    GGUF file, as the quantizer `gguf` writes it."""
    tokens: int = Field(default=4, ge=1, le=64)
    """Tokens written ahead."""

    def options(self) -> dict[str, Any]:
        """Return the engine options that switch it on."""
        return {"draft": self.model, "draft_tokens": self.tokens}

    def problems(self) -> list[str]:
        """Return why the draft model cannot be used."""
        try:
            resolve_model(self.model)
        except ModelError as error:
            return [str(error)]
        return []

    def problems_with_model(self, model: Path) -> list[str]:
        """Return why the draft model cannot write ahead for this model."""
        try:
            check_draft(resolve_model(self.model), model)
        except ModelError as error:
            return [str(error)]
        return []

    def fingerprint(self) -> str:
        """Return what the draft model's weights are: drawn answers depend on them."""
        folder = resolve_model(self.model)
        return weights_digest(folder) if _whole(folder) else _gguf_digest(folder)


def _whole(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _gguf_digest(folder: Path) -> str:
    import hashlib

    hasher = hashlib.sha256()
    for path in sorted(folder.glob("*.gguf")):
        with path.open("rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()


@hookimpl
def register_accelerators() -> list[type[Accelerator]]:
    """Offer the technique."""
    return [SpeculativeDraftModel]
