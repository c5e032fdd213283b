"""Pick the next token of each row, each row from its own stream of random numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.promises import named
from tunesmith.techniques import Sampler

if TYPE_CHECKING:
    from torch import Tensor

Reshape = Callable[["Tensor", list[list[int]]], "Tensor"]
"""``(logits, tokens) -> logits``: a sampler, whether or not it looks at the tokens."""


def reads_tokens(sampler: Sampler) -> bool:
    """Say whether the sampler wants ``(logits, tokens)`` rather than ``(logits)``.

    ``tokens`` is one list per row: the prompt and everything written so far, never padded.
    """
    return len(inspect.signature(sampler).parameters) > 1


def reshaper(sampler: Sampler) -> Reshape:
    """Return the sampler as a function of logits and tokens, and check what it gives back."""
    with_tokens = reads_tokens(sampler)

    def reshape(logits: Tensor, tokens: list[list[int]]) -> Tensor:
        out = sampler(logits, tokens) if with_tokens else sampler(logits)  # type: ignore[call-arg]
        if getattr(out, "shape", None) != logits.shape:
            raise ModelError(
                f"{named(sampler)} must return logits of shape {tuple(logits.shape)};"
                f" got {_describe(out)}."
            )
        return out

    return reshape


def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Return ``count`` numbers in [0, 1) per seed, shape (seeds, count), float64.

    A row's numbers depend on its own seed alone, so that its sample does not change with the
    other rows of the batch.
    """
    import torch

    rows = [
        torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    return torch.stack(rows)


def pick_largest(logits: Tensor) -> Tensor:
    """Return the position of each row's largest logit, shape (rows,); refuse NaN."""
    check_logits(logits)
    return logits.max(dim=-1).indices


def check_logits(logits: Tensor) -> None:
    """Raise ModelError unless the largest logit of every row is a number; shape (rows, any)."""
    if not bool(logits.amax(dim=-1).isfinite().all()):
        raise ModelError(_broken(logits))


def pick_by_chance(logits: Tensor, chance: Tensor) -> Tensor:
    """Draw one token per row by inverting the cumulative distribution at ``chance``, (rows,).

    float64, because the sum over a large vocabulary in float32 misses its last tokens.
    """
    import torch

    heights = logits.double().softmax(dim=-1).cumsum(dim=-1)
    total = heights[:, -1]
    if not bool(total.isfinite().all()):
        raise ModelError(_broken(logits))
    # Rounding must not carry the mark onto the total: the tokens beyond it have no probability.
    mark = torch.minimum(chance * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(heights, mark.unsqueeze(1), right=True).squeeze(1)


def _broken(logits: Tensor) -> str:
    bad = int((logits.isnan() | logits.isposinf()).any(dim=-1).sum())
    if bad:
        return (
            f"The model gave logits that are not numbers in {bad} of {len(logits)} rows;"
            " its weights are damaged or its precision is too low."
        )
    return "The sampler ruled out every token of a row; loosen its options."


def _describe(out: object) -> str:
    shape = getattr(out, "shape", None)
    return f"shape {tuple(shape)}" if shape is not None else type(out).__name__
