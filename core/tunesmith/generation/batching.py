"""Check prompts and lay them out in batches that depend on nothing but the prompts.

Floating-point sums depend on the shape of the batch they are computed in, so batches that form by
timing give answers that change from run to run. Here the same prompts always make the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.errors import ModelError
from tunesmith.records import Generation


def fixed_batches(prompts: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield positions of prompts, shortest prompts first, ``batch_size`` at a time."""
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def check_request(
    prompts: Sequence[list[int]], how: Generation, context: int | None, vocabulary: int | None
) -> None:
    """Raise ModelError for a request that the model cannot answer whole.

    ``context`` and ``vocabulary`` are counts of tokens; None when the model states no limit.
    """
    if how.max_new_tokens < 1 or how.batch_size < 1:
        raise ModelError(
            "max_new_tokens and batch_size must be at least 1;"
            f" got {how.max_new_tokens} and {how.batch_size}."
        )
    if len(how.seeds) != len(prompts):
        raise ModelError(
            f"{len(prompts)} prompts came with {len(how.seeds)} seeds; give one seed per prompt."
        )
    for row, prompt in enumerate(prompts):
        _check_prompt(row, prompt, how.max_new_tokens, context, vocabulary)


def _check_prompt(
    row: int, prompt: list[int], new: int, context: int | None, vocabulary: int | None
) -> None:
    if not prompt:
        raise ModelError(f"Prompt {row} is empty; a model needs at least one token to continue.")
    if vocabulary is not None and not 0 <= min(prompt) <= max(prompt) < vocabulary:
        raise ModelError(
            f"Prompt {row} holds a token id outside 0..{vocabulary - 1};"
            " it was encoded with another model's tokenizer."
        )
    if context is not None and len(prompt) + new > context:
        raise ModelError(
            f"Prompt {row} has {len(prompt)} tokens and may grow by {new}, but the model's"
            f" context holds {context}. Shorten the prompt or lower max_new_tokens"
            f" to {max(context - len(prompt), 0)}."
        )
