"""The reference engine: transformers' own model code under Tunesmith's decoding loop.

Every other engine is compared with this one. It reads Hugging Face folders and runs every sampler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tunesmith import Completion, Engine, Generation, OpenEngine, hookimpl
from tunesmith.adapted import weight_files
from tunesmith.generation.reference import Decode, decoder, generate
from tunesmith.models import load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersEngine(Engine):
    """Run a Hugging Face folder with transformers; slow, exact, and able to do everything."""

    name = "transformers"

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision to compute in; float32 is the reference for all others."""

    @contextmanager
    def open(self, model: Path) -> Iterator[OpenEngine]:
        """Load the folder; leaving the context frees the model."""
        opened = OpenTransformers(load_model(model, self.dtype), decoder(load_tokenizer(model)))
        yield opened

    def reads(self, model: Path) -> bool:
        """Say whether the folder holds a config and safetensors weights."""
        return (model / "config.json").is_file() and bool(weight_files(model))


@dataclass(frozen=True, slots=True)
class OpenTransformers:
    """A model in memory, ready to continue prompts."""

    model: PreTrainedModel
    decode: Decode

    def generate(self, prompts: Sequence[list[int]], how: Generation) -> list[Completion]:
        """Continue each prompt (token ids); one completion per prompt, in order."""
        return generate(self.model, prompts, how, self.decode)


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the technique."""
    return [TransformersEngine]
