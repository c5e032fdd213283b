"""A key-value cache that neither copies its past at every step nor attends to its future."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


def growing_cache(model: PreTrainedModel, capacity: int) -> Cache:
    """Return a cache for up to ``capacity`` positions, memory taken once.

    transformers' DynamicCache copies the whole past at every step, its StaticCache attends to all
    positions that are still to come; layers of other kinds (sliding windows, state spaces) stay
    as they are.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache(config=model.config)
    layer = _growing_layer()
    cache.layers = [layer(capacity) if type(old) is DynamicLayer else old for old in cache.layers]
    return cache


def can_drop_rows(cache: Cache) -> bool:
    """Say whether finished rows can be taken out of the cache."""
    from transformers.cache_utils import DynamicLayer

    return all(isinstance(layer, DynamicLayer) for layer in cache.layers)


@lru_cache(maxsize=1)
def _growing_layer() -> type[Any]:
    from torch import Tensor
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
        """One layer's keys and values, shape (rows, heads, capacity, width), filled in place."""

        def __init__(self, capacity: int) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.capacity = capacity
            self.filled = 0

        def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.all_keys = _room(key_states, self.capacity)
            self.all_values = _room(value_states, self.capacity)
            self.is_initialized = True

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            end = self.filled + key_states.shape[-2]
            self.all_keys[:, :, self.filled : end] = key_states
            self.all_values[:, :, self.filled : end] = value_states
            self.filled = end
            return self._look()

        def _look(self) -> tuple[Tensor, Tensor]:
            keys = self.all_keys[:, :, : self.filled]
            values = self.all_values[:, :, : self.filled]
            self.keys, self.values = keys, values
            return keys, values

        def get_seq_length(self) -> int:
            return self.filled

        def batch_select_indices(self, indices: Tensor) -> None:
            self.all_keys = self.all_keys.index_select(0, indices)
            self.all_values = self.all_values.index_select(0, indices)
            self._look()

    return GrowingLayer


def _room(like: Any, capacity: int) -> Any:
    rows, heads, _, width = like.shape
    return like.new_empty((rows, heads, capacity, width))
