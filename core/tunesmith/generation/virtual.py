"""Learnt virtual tokens (prompt and prefix tuning) at the front of a key-value cache.

PEFT's forward pass adds them to every call and drops the positions it is given: padding, which
depends on the other rows of a batch, would move the prompt away from them. Here they fill the first
positions of every row's cache; then the plain model runs as it always does. Their keys and values
are computed alone, so that they are the same to the last bit in any company.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


def virtual_tokens(model: Any) -> int:
    """Return how many virtual tokens stand before every prompt; 0 for a plain model."""
    active = getattr(model, "active_peft_config", None)
    if active is None or not active.is_prompt_learning:
        return 0
    return int(active.num_virtual_tokens)


def without_virtual(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model to call once the virtual tokens are in the cache."""
    if not virtual_tokens(model):
        return model
    whole: Any = model
    inner: PreTrainedModel = whole.get_base_model()
    return inner


def put_first(model: PreTrainedModel, cache: Cache, rows: int) -> None:
    """Fill the first positions of an empty cache, alike in every row; nothing for a plain model.

    Raises ModelError for layers that keep a state instead of keys and values.
    """
    from transformers.cache_utils import DynamicLayer

    if not virtual_tokens(model):
        return
    if not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        raise ModelError(
            f"{type(without_virtual(model)).__name__} has layers without keys and values, which"
            " virtual tokens cannot stand in. Use an adapter that can be merged, such as lora."
        )
    for at, layer in enumerate(_alone(model).layers):
        keys = layer.keys.expand(rows, -1, -1, -1)
        values = layer.values.expand(rows, -1, -1, -1)
        cache.update(keys, values, at)


def _alone(model: Any) -> Any:
    """Return a cache of one row that holds the virtual tokens and nothing else."""
    from transformers.cache_utils import DynamicCache

    learnt = model.get_prompt(batch_size=1)
    if hasattr(learnt, "layers"):
        return learnt  # a prefix is keys and values already
    inner = model.get_base_model()
    cache = DynamicCache(config=inner.config)
    embedded = learnt.to(inner.get_input_embeddings().weight.dtype)
    inner(inputs_embeds=embedded, past_key_values=cache, use_cache=True)
    return cache
