"""How probable a model finds given completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.generation.batching import fixed_batches
from tunesmith.generation.reference import (
    accepted,
    check_model,
    context_length,
    evaluating,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class CompletionScore:
    """Natural-log probabilities of one completion's tokens, given all that stands before them."""

    per_token: list[float]

    @property
    def total(self) -> float:
        """The log-probability of the whole completion."""
        return sum(self.per_token)


def score_logprobs(
    model: PreTrainedModel,
    ids: Sequence[list[int]],
    from_position: Sequence[int],
    batch_size: int = 16,
) -> list[CompletionScore]:
    """Score ``ids[row][from_position[row]:]`` for each row, in order.

    ``ids`` are whole sequences (prompt and completion), ``from_position`` is where each
    completion begins, at least 1. Raises ModelError when a row is too long or the model's logits
    are not numbers.
    """
    check_model(model)
    _check_rows(ids, from_position, context_length(model))
    scores: dict[int, CompletionScore] = {}
    with evaluating(model):
        for batch in fixed_batches(ids, batch_size):
            rows = _score([ids[i] for i in batch], [from_position[i] for i in batch], model)
            scores.update(zip(batch, rows, strict=True))
    return [scores[i] for i in range(len(ids))]


def _check_rows(ids: Sequence[list[int]], starts: Sequence[int], context: int | None) -> None:
    for row, (sequence, start) in enumerate(zip(ids, starts, strict=True)):
        if not 1 <= start <= len(sequence):
            raise ModelError(
                f"Row {row} has {len(sequence)} tokens, so its completion must begin at 1 to"
                f" {len(sequence)}; got {start}."
            )
        if context is not None and len(sequence) > context:
            raise ModelError(
                f"Row {row} has {len(sequence)} tokens, but the model's context holds {context}."
            )


def _score(
    ids: list[list[int]], starts: list[int], model: PreTrainedModel
) -> list[CompletionScore]:
    import torch

    width, first = max(map(len, ids)), min(starts)
    # Padding stands on the right, where a causal model never looks back at it.
    inputs = torch.tensor([row + [0] * (width - len(row)) for row in ids], device=model.device)
    last = width - first + 1
    keep = {"logits_to_keep": last} if "logits_to_keep" in accepted(model) else {}
    logits = model(input_ids=inputs, use_cache=False, **keep).logits[:, -last:]
    chosen = _of_targets(logits[:, :-1], inputs[:, first:])
    if not bool(chosen.isfinite().all()):
        raise ModelError("The model gave logits that are not numbers; its weights are damaged.")
    return [
        CompletionScore(row[start - first : len(sequence) - first].tolist())
        for row, sequence, start in zip(chosen, ids, starts, strict=True)
    ]


def _of_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probability of each target, shape of ``targets``."""
    logits = logits.float()
    return logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)
