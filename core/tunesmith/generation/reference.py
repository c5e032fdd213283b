"""The reference decoding loop: any causal language model, token ids in, token ids out.

It runs in *exact mode*: the batches depend on the prompts alone, and every row draws from a random
stream of its own, so that the same request gives the same tokens on the same machine, whenever and
beside whatever it runs. What stays is the arithmetic: a row computed in a batch of another shape
has logits that differ in the last bits (docs/engines.md has the figures).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.generation.batching import check_request, fixed_batches
from tunesmith.generation.cache import can_drop_rows, growing_cache
from tunesmith.generation.drawing import (
    Reshape,
    pick_by_chance,
    pick_largest,
    reshaper,
    uniforms,
)
from tunesmith.generation.virtual import put_first, virtual_tokens, without_virtual
from tunesmith.records import Completion, Generation

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

Decode = Callable[[list[int]], str]
"""Turns token ids into text."""


def decoder(tokenizer: PreTrainedTokenizerBase) -> Decode:
    """Return the tokenizer's plain decoding: special tokens left out, spaces untouched."""

    def decode(ids: list[int]) -> str:
        return str(
            tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    return decode


def generate(
    model: PreTrainedModel, prompts: Sequence[list[int]], how: Generation, decode: Decode
) -> list[Completion]:
    """Continue each prompt; one completion per prompt, in the order of the prompts.

    ``Completion.ids`` ends with the stop token when ``finish`` is ``stop``; ``text`` leaves it out.
    Raises ModelError for a request the model cannot answer whole, and for logits that are not
    numbers.
    """
    check_model(model)
    check_request(prompts, how, context_length(model), model.config.get_text_config().vocab_size)
    if how.sampler.searches:
        return how.sampler.search(model, prompts, how, decode)
    written: dict[int, list[int]] = {}
    with evaluating(model):
        for batch in fixed_batches(prompts, how.batch_size):
            rows = _write(model, [prompts[i] for i in batch], [how.seeds[i] for i in batch], how)
            written.update(zip(batch, rows, strict=True))
    return [completion(written[i], how, decode) for i in range(len(prompts))]


def next_logits(model: PreTrainedModel, texts: Sequence[list[int]]) -> Tensor:
    """Return the logits after each text, in one batch, (texts, vocabulary), float32."""
    from tunesmith.plugins import build
    from tunesmith.techniques import Sampler

    how = Generation(build(Sampler, "greedy"), 1, [0] * len(texts), ())
    check_request(texts, how, context_length(model), model.config.get_text_config().vocab_size)
    with evaluating(model):
        return lay_out(model, list(texts), [0] * len(texts), how).logits()


def completion(ids: list[int], how: Generation, decode: Decode) -> Completion:
    """Return the record of what was written; it stopped if the last token is a stop token."""
    if ids and ids[-1] in how.stop_ids:
        return Completion(ids, decode(ids[:-1]), "stop")
    return Completion(ids, decode(ids), "length")


def context_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model can hold, or None when it states no limit."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) - virtual_tokens(model) if limit else None


def check_model(model: PreTrainedModel) -> None:
    """Raise ModelError for a model that does not continue text from left to right."""
    if model.config.is_encoder_decoder:
        raise ModelError(
            f"{type(model).__name__} is an encoder-decoder model; only causal language models"
            " (AutoModelForCausalLM) can be run."
        )


def accepted(model: PreTrainedModel) -> frozenset[str]:
    """Return the names of the model's forward arguments; an adapter hands on what it is given."""
    unwrap = getattr(model, "get_base_model", None)
    inner = model if unwrap is None else unwrap()
    return frozenset(inspect.signature(inner.forward).parameters)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Switch dropout and gradients off for a while, and the model's mode back afterwards."""
    import torch

    was_training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@dataclass(slots=True)
class Batch:
    """The rows that are still in the model, and where each one's tokens go."""

    model: PreTrainedModel
    inputs: Tensor  # (rows, new positions)
    mask: Tensor  # (rows, all positions to come)
    positions: Tensor  # (rows, all positions to come)
    chances: Tensor | None  # (rows, steps); None when nothing is drawn
    cache: Cache
    texts: list[list[int]]
    accepts: frozenset[str]
    seen: int = 0

    def logits(self) -> Tensor:
        """Run the model over the new positions; shape (rows, vocabulary), float32."""
        end = self.seen + self.inputs.shape[1]
        extra = {"position_ids": self.positions[:, self.seen : end], "logits_to_keep": 1}
        extra = {name: value for name, value in extra.items() if name in self.accepts}
        out = self.model(
            input_ids=self.inputs,
            attention_mask=self.mask[:, :end],
            past_key_values=self.cache,
            use_cache=True,
            **extra,
        )
        self.seen = end
        last: Tensor = out.logits[:, -1].float()
        return last

    def keep(self, rows: list[int]) -> None:
        """Take these rows, in this order, any of them several times, and drop the others."""
        import torch

        chosen = torch.tensor(rows, device=self.inputs.device)
        self.inputs, self.mask = self.inputs[chosen], self.mask[chosen]
        self.positions = self.positions[chosen]
        if self.chances is not None:
            self.chances = self.chances[chosen]
        self.texts = [self.texts[row] for row in rows]
        self.cache.batch_select_indices(chosen)


def _write(
    model: PreTrainedModel, prompts: list[list[int]], seeds: list[int], how: Generation
) -> list[list[int]]:
    """Write one batch to its end; the new ids of each row, stop token included."""
    batch = lay_out(model, prompts, seeds, how)
    everything, stops = batch.texts, set(how.stop_ids)
    droppable, reshape = can_drop_rows(batch.cache), reshaper(how.sampler)
    live = set(range(len(prompts)))
    for step in range(how.max_new_tokens):
        picked = _pick(batch, reshape, step)
        batch.inputs = picked.unsqueeze(1)
        for row, token in enumerate(picked.tolist()):
            if row in live:
                batch.texts[row].append(token)
                live -= {row} if token in stops else set()
        if not live:
            break
        # Below three quarters the smaller batch repays the copy of its cache.
        if droppable and 4 * len(live) <= 3 * len(batch.texts):
            batch.keep(sorted(live))
            live = set(range(len(batch.texts)))
    return [text[len(prompt) :] for text, prompt in zip(everything, prompts, strict=True)]


def _pick(batch: Batch, reshape: Reshape, step: int) -> Tensor:
    logits = reshape(batch.logits(), batch.texts)
    if batch.chances is None:
        return pick_largest(logits)
    return pick_by_chance(logits, batch.chances[:, step])


def lay_out(
    model: PreTrainedModel, prompts: list[list[int]], seeds: Sequence[int], how: Generation
) -> Batch:
    """Return prompts as one batch, padded on the left, with room for ``how.max_new_tokens``."""
    import torch
    from torch.nn import functional

    width, steps = max(map(len, prompts)), how.max_new_tokens
    # The padding's id is never attended to; 0 is in every vocabulary.
    inputs = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    pads = torch.tensor([width - len(p) for p in prompts])
    reach = torch.arange(width + steps)
    # Virtual tokens come first, whatever the padding between them and the prompt.
    first = virtual_tokens(model)
    mask = functional.pad((reach >= pads[:, None]).long(), (first, 0), value=1)
    positions = functional.pad((reach - pads[:, None]).clamp(min=0) + first, (first, 0))
    cache = growing_cache(model, first + width + steps)
    put_first(model, cache, len(prompts))
    device = model.device
    return Batch(
        model=without_virtual(model),
        inputs=inputs.to(device),
        mask=mask.to(device),
        positions=positions.to(device),
        chances=uniforms(seeds, steps).to(device) if how.sampler.draws else None,
        cache=cache,
        texts=[list(prompt) for prompt in prompts],
        accepts=accepted(model),
        seen=first,
    )
