"""The reference loop for one prompt, token by token, with the probabilities of each.

The tokens are those of `reference.generate` for the same prompt and seed in a batch of its own.
Probabilities are the model's, before the sampler: what it thought, not what it was allowed to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.generation.batching import check_request
from tunesmith.generation.drawing import pick_by_chance, pick_largest, reshaper
from tunesmith.generation.reference import (
    Batch,
    check_model,
    context_length,
    evaluating,
    lay_out,
)
from tunesmith.records import Generation, Token

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def stream(
    model: PreTrainedModel, prompt: list[int], how: Generation, top: int | None = None
) -> Iterator[Token]:
    """Yield the tokens of one answer, a stop token included.

    ``top`` asks for log-probabilities and for that many alternatives; None for neither. Raises
    ModelError before the first token for a request the model cannot answer whole.
    """
    check_model(model)
    vocabulary = model.config.get_text_config().vocab_size
    check_request([prompt], how, context_length(model), vocabulary)
    if how.sampler.searches:
        raise ModelError(
            f"The sampler {how.sampler.name!r} chooses among whole answers, so there are no tokens"
            " to stream before its end. Ask for the whole answer, or use another sampler."
        )
    return _written(model, prompt, how, top)


def _written(
    model: PreTrainedModel, prompt: list[int], how: Generation, top: int | None
) -> Iterator[Token]:
    reshape, stops = reshaper(how.sampler), set(how.stop_ids)
    batch = lay_out(model, [prompt], how.seeds[:1], how)
    for step in range(how.max_new_tokens):
        # Not around the loop: between two tokens, gradients are whoever reads them's business.
        with evaluating(model):
            logits = batch.logits()
            picked = _pick(batch, reshape(logits, batch.texts), step)
            token = described(logits[0], int(picked), top)
        batch.inputs = picked.unsqueeze(1)
        batch.texts[0].append(token.id)
        yield token
        if token.id in stops:
            return


def _pick(batch: Batch, logits: Tensor, step: int) -> Tensor:
    if batch.chances is None:
        return pick_largest(logits)
    return pick_by_chance(logits, batch.chances[:, step])


def described(logits: Tensor, token: int, top: int | None) -> Token:
    """Return a token with what the logits of its place, shape (vocabulary,), say of it."""
    if top is None:
        return Token(token)
    logprobs = logits.double().log_softmax(dim=-1)
    best = logprobs.topk(min(top, len(logprobs)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Token(token, float(logprobs[token]), tuple(pairs))
