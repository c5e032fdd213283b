"""What the distillers share: how the student steps and how it is saved."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunesmith import Distiller
from tunesmith.training.hardware import Precision
from tunesmith.training.optimisers import OptimiserName, Schedule
from tunesmith.training.scratch import Architecture

SMALL = Architecture(hidden_size=128, intermediate_size=256, layers=2)
"""The student that is begun where none is named."""


class Taught(Distiller):
    """A student trained by gradient steps; subclasses say on what."""

    learning_rate: float = Field(default=2e-3, gt=0)
    """AdamW's peak rate."""
    optimizer: OptimiserName = "muon"
    """`muon` for the hidden matrices with AdamW for the rest, or `adamw`."""
    muon_learning_rate: float = Field(default=0.003, gt=0)
    """Muon's peak rate, in the scale of an AdamW step."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decay of matrices; norms have none."""
    warmup: float = Field(default=0.03, ge=0)
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "cosine"
    """How the rate falls after that."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively)."""
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the saved weights."""


class FromRows(Taught):
    """A student that sees given rows, each several times."""

    student: Architecture = SMALL
    """Shape of a new student, which takes over the teacher's tokenizer and context; a student that
    is given as a folder keeps its own."""
    epochs: float = Field(default=3.0, gt=0)
    """How often each row is seen."""
    steps: int | None = Field(default=None, ge=1)
    """Number of optimiser steps; overrules `epochs`."""
    batch_tokens: int = Field(default=4096, ge=1)
    """About how many tokens an optimiser step sees."""
    learn: Literal["completion", "all"] = "completion"
    """Whether the prompt's tokens are learnt too."""
