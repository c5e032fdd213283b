"""A model in training, made ready to speak: plain, and the same after any interruption."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tunesmith.errors import ModelError
from tunesmith.techniques import Adapter
from tunesmith.training.losses import Forward


def refuse_unmergeable(what: str, adapter: Adapter | None) -> None:
    """Raise ModelError for an adapter without which the model cannot be sampled from."""
    if adapter is not None and not adapter.mergeable:
        raise ModelError(
            f"{what} samples from a merged copy of the model, and {adapter.name} cannot be"
            " merged. Use lora, dora, rslora or ia3, or a method that learns from rows."
        )


def speaker(forward: Forward, adapter: Adapter | None) -> Any:
    """Return a plain model that speaks as the trained one does now."""
    # Training leaves its own kind of attention behind; a resumed run would start with another.
    inner, native = forward.inner, forward.native
    if inner.config._attn_implementation != native:
        inner.set_attn_implementation(native)
    if adapter is None or not hasattr(forward.model, "peft_config"):
        return forward.model
    # Merged, a decoding step costs half; a copy, because merging back and forth would drift.
    return adapter.merge(deepcopy(forward.model))
