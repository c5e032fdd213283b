"""The reference engine: transformers' own model code under Tunesmith's decoding loop.

Every other engine is compared with this one. It reads Hugging Face folders and runs every sampler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from tunesmith import Completion, Engine, Generation, OpenEngine, Token, hookimpl
from tunesmith.adapted import weight_files
from tunesmith.generation.drafting import check_draft
from tunesmith.generation.reference import Decode, decoder, generate, next_logits
from tunesmith.generation.speculative import Draft, Lookup, generate_with_guesses
from tunesmith.generation.streaming import stream
from tunesmith.models import load_model, load_tokenizer, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersEngine(Engine):
    """Run a Hugging Face folder with transformers; slow, exact, and able to do everything."""

    name = "transformers"

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision to compute in; float32 is the reference for all others."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """The implementation of attention (see the accelerator `attention`)."""
    lookup: int = Field(default=0, ge=0, le=64)
    """Tokens guessed from the text itself (see `speculative_prompt_lookup`); 0 guesses none."""
    lookup_after: int = Field(default=3, ge=1, le=16)
    """Tokens that must have stood in the text before, for a guess at what follows."""
    draft: str | None = None
    """A smaller model that guesses (see `speculative_draft_model`): a folder or a built-in one."""
    draft_tokens: int = Field(default=4, ge=1, le=64)
    """Tokens that the smaller model writes ahead."""

    @model_validator(mode="after")
    def _one_guesser(self) -> Self:
        if self.lookup and self.draft:
            raise ValueError("guesses come from the text (lookup) or from a draft model, not both")
        return self

    @contextmanager
    def open(self, model: Path) -> Iterator[OpenEngine]:
        """Load the folder; leaving the context frees the model.

        Raises ModelError for a folder that cannot be used, and for a draft model with another
        tokenizer.
        """
        guesses = self._guesses(model)
        loaded = load_model(model, self.dtype, self.attention)
        yield OpenTransformers(loaded, decoder(load_tokenizer(model)), guesses)

    def _guesses(self, model: Path) -> Lookup | Draft | None:
        if self.lookup:
            return Lookup(self.lookup, self.lookup_after)
        if self.draft is None:
            return None
        folder = resolve_model(self.draft)
        check_draft(folder, model)
        return Draft(load_model(folder, self.dtype), self.draft_tokens)

    def reads(self, model: Path) -> bool:
        """Say whether the folder holds a config and safetensors weights."""
        return (model / "config.json").is_file() and bool(weight_files(model))


@dataclass(frozen=True, slots=True)
class OpenTransformers:
    """A model in memory, ready to continue prompts."""

    model: PreTrainedModel
    decode: Decode
    guesses: Lookup | Draft | None = None
    counts: Counter[str] = field(default_factory=Counter)
    """With guesses: ``target_steps``, ``plain_steps``, tokens ``proposed``, ``accepted``."""

    def generate(self, prompts: Sequence[list[int]], how: Generation) -> list[Completion]:
        """Continue each prompt (token ids); one completion per prompt, in order."""
        if self.guesses is None:
            return generate(self.model, prompts, how, self.decode)
        return generate_with_guesses(
            self.model, prompts, how, self.decode, self.guesses, self.counts
        )

    def stream(self, prompt: list[int], how: Generation, top: int | None = None) -> Iterator[Token]:
        """Yield the tokens of one answer; guesses, which come in batches, are not used here."""
        return stream(self.model, prompt, how, top)

    def next_logprobs(self, texts: Sequence[list[int]], most: int) -> list[dict[int, float]]:
        """Return the log-probabilities of the ``most`` best next tokens after each text."""
        logits = next_logits(self.model, texts)
        best = logits.double().log_softmax(dim=-1).topk(min(most, logits.shape[-1]), dim=-1)
        return [
            dict(zip(ids, values, strict=True))
            for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the technique."""
    return [TransformersEngine]
