"""Optimisers and learning-rate schedules; the rate is a function of the step alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch.optim import Optimizer

Schedule = Literal["cosine", "linear", "constant", "trapezoid"]
"""``trapezoid`` holds the peak and falls linearly over the last 40 % of the steps."""
_FALL = 0.4

OptimiserName = Literal["adamw", "muon"]


def rate(step: int, steps: int, warmup: float, schedule: Schedule, floor: float = 0.0) -> float:
    """Return the share of the peak learning rate for a step, in ``floor``..1.

    ``warmup`` is a share of all steps when below 1, else a number of steps.
    """
    rising = warmup if warmup >= 1 else warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "constant":
        return 1.0
    done = (step - rising) / max(1.0, steps - rising)
    return floor + (1.0 - floor) * _falling(done, schedule)


def _falling(done: float, schedule: Schedule) -> float:
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    if schedule == "trapezoid":
        return min(1.0, (1.0 - done) / _FALL)
    return 1.0 - done


def build_optimisers(
    model: Any,
    name: OptimiserName,
    *,
    learning_rate: float,
    muon_learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
) -> list[Optimizer]:
    """Return the optimisers of a model's trainable parameters.

    ``muon`` orthogonalises the updates of hidden matrices (Jordan et al. 2024, "Muon"); embeddings,
    the head, norms and biases keep AdamW, as its authors say. Weight decay spares vectors.
    """
    import torch

    hidden, matrices, vectors = _groups(model, muon=name == "muon")
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    built: list[Optimizer] = []
    if hidden:
        # Scaled so that a step is as large as AdamW's: one rate then fits matrices of any shape.
        scale = "match_rms_adamw"
        built.append(
            torch.optim.Muon(
                hidden, lr=muon_learning_rate, weight_decay=weight_decay, adjust_lr_fn=scale
            )
        )
    if matrices or vectors:
        kept = [group for group in groups if group["params"]]
        built.append(torch.optim.AdamW(kept, lr=learning_rate, betas=betas, fused=True))
    for group in (group for optimiser in built for group in optimiser.param_groups):
        group["peak"] = group["lr"]
    return built


def _groups(model: Any, *, muon: bool) -> tuple[list[Any], list[Any], list[Any]]:
    """Return trainable (hidden matrices for Muon, other matrices, vectors)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    ends = {id(p) for p in inner.get_input_embeddings().parameters()}
    head = inner.get_output_embeddings()
    ends |= {id(p) for p in head.parameters()} if head is not None else set()
    virtual = getattr(model, "prompt_encoder", None)
    ends |= {id(p) for p in virtual.parameters()} if virtual is not None else set()
    hidden: list[Any] = []
    matrices: list[Any] = []
    vectors: list[Any] = []
    for parameter in (p for p in model.parameters() if p.requires_grad):
        # (IA)3 keeps its vectors as matrices of one row; decay would pull them to 0, away from 1.
        if parameter.ndim < 2 or 1 in parameter.shape:
            vectors.append(parameter)
        elif muon and parameter.ndim == 2 and id(parameter) not in ends:
            hidden.append(parameter)
        else:
            matrices.append(parameter)
    return hidden, matrices, vectors


def set_rates(optimisers: list[Optimizer], share: float) -> None:
    """Set every learning rate to a share of its peak."""
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = group["peak"] * share
