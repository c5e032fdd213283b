"""A model that reads rows of unequal lengths, and can forget the end of each.

Every row begins at slot 0 of the key-value cache and ends where it ends, so that forgetting a
token is moving one number; what lies beyond a row's end is masked, and overwritten by what comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache, PreTrainedModel


class Reader:
    """Rows of tokens inside a model; ``lengths`` says how much of each row it has read."""

    def __init__(self, model: PreTrainedModel, rows: int, capacity: int) -> None:
        """Make room for ``capacity`` tokens per row; ModelError for a model that cannot rewind."""
        import torch

        from tunesmith.generation.reference import accepted

        self.model = model
        self.lengths = [0] * rows
        self.forwards = 0
        self._ends = _Ends(torch.zeros(rows, dtype=torch.long, device=model.device), 0)
        self._cache = _rewindable(model, capacity, self._ends)
        self._accepts = accepted(model)
        if "position_ids" not in self._accepts:
            raise ModelError(
                f"{type(model).__name__} does not take positions, so its cache cannot be rewound;"
                " speculation is not possible with this model."
            )

    def read(self, news: Sequence[list[int]], keep: int) -> Tensor:
        """Read ``news[row]`` after each row; float32 logits, (rows, keep, vocabulary).

        The logits are those of the last ``keep`` of the longest row's places: place ``j`` of a row
        is at ``j - (longest - keep)``. 0 keeps all. A row with nothing new reads nothing.
        """
        logits = self._forward(news, keep)
        return logits[:, -keep:].float() if keep else logits.float()

    def read_last(self, news: Sequence[list[int]]) -> Tensor:
        """Read as `read` does; float32 logits of each row's last new token, (rows, vocabulary)."""
        import torch

        ends = [len(row) - 1 for row in news]
        places = sorted(set(ends))
        logits = self._forward(news, torch.tensor(places, device=self.model.device))
        if logits.shape[1] == len(places):  # else the model has computed them all
            ends = [places.index(end) for end in ends]
        return logits[torch.arange(len(news)), torch.tensor(ends)].float()

    def _forward(self, news: Sequence[list[int]], keep: int | Tensor) -> Tensor:
        import torch

        device = self.model.device
        width = max(map(len, news))
        inputs = torch.tensor([row + [0] * (width - len(row)) for row in news], device=device)
        starts = torch.tensor(self.lengths, device=device)
        self._ends.starts, self._ends.reach = starts, max(self.lengths) + width
        self._ends.level = self.lengths[0] if len(set(self.lengths)) == 1 else None
        positions = starts[:, None] + torch.arange(width, device=device)
        extra = {"logits_to_keep": keep} if "logits_to_keep" in self._accepts else {}
        out = self.model(
            input_ids=inputs,
            attention_mask=self._mask(positions),
            position_ids=self._within(positions, news),
            past_key_values=self._cache,
            use_cache=True,
            **extra,
        )
        self.forwards += 1
        self.lengths = [old + len(row) for old, row in zip(self.lengths, news, strict=True)]
        logits: Tensor = out.logits
        return logits

    def _within(self, positions: Tensor, news: Sequence[list[int]]) -> Tensor:
        """Return positions that no padding takes past its row's last token, and so the context."""
        import torch

        last = [
            max(length + len(row) - 1, 0) for length, row in zip(self.lengths, news, strict=True)
        ]
        return positions.minimum(torch.tensor(last, device=positions.device)[:, None])

    def _mask(self, positions: Tensor) -> Tensor:
        """Return what is added to the attention, (rows, 1, places, slots): no slot to come."""
        import torch

        slots = torch.arange(self._ends.reach, device=positions.device)
        dtype = next(self.model.parameters()).dtype
        hidden = slots > positions[:, :, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(
            hidden, torch.finfo(dtype).min
        )[:, None]

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forget what each row holds beyond its length."""
        self.lengths = [min(old, new) for old, new in zip(self.lengths, lengths, strict=True)]

    def keep(self, rows: list[int]) -> None:
        """Drop every other row."""
        import torch

        chosen = torch.tensor(rows, device=self.model.device)
        self.lengths = [self.lengths[row] for row in rows]
        self._ends.starts = self._ends.starts[chosen]
        self._cache.batch_select_indices(chosen)


class _Ends:
    """Where the tokens being read are stored: what all layers of a cache share."""

    def __init__(self, starts: Tensor, reach: int) -> None:
        self.starts = starts
        self.reach = reach
        self.level: int | None = None
        """Where all rows end alike (one row does), so that one slice of the cache is written."""


def _rewindable(model: PreTrainedModel, capacity: int, ends: _Ends) -> Cache:
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache(config=model.config)
    others = sorted({type(layer).__name__ for layer in cache.layers} - {DynamicLayer.__name__})
    if others:
        raise ModelError(
            f"{type(model).__name__} keeps its past in layers that cannot be rewound"
            f" ({', '.join(others)}: sliding windows or states); speculation is not possible with"
            " this model."
        )
    _check_attention(model)
    layers = model.config.get_text_config().num_hidden_layers
    cache.layers = [_layer()(capacity, ends) for _ in range(len(cache.layers) or layers)]
    return cache


def _check_attention(model: PreTrainedModel) -> None:
    kind = model.config._attn_implementation
    if kind not in ("sdpa", "eager"):
        raise ModelError(
            f"Speculation masks each row by itself, which the attention {kind!r} cannot do."
            " Use sdpa or eager."
        )


@lru_cache(maxsize=1)
def _layer() -> type[Any]:
    import torch
    from transformers.cache_utils import DynamicLayer

    class RewindableLayer(DynamicLayer):  # type: ignore[no-untyped-call]
        """One layer's keys and values, shape (rows, heads, capacity, width), each row its own."""

        def __init__(self, capacity: int, ends: _Ends) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.capacity = capacity
            self.ends = ends

        def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
            self.dtype, self.device = key_states.dtype, key_states.device
            # Zeros, not whatever memory held: a masked NaN would still spread.
            self.all_keys = _room(key_states, self.capacity)
            self.all_values = _room(value_states, self.capacity)
            self.is_initialized = True

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            if self.ends.level is not None:
                written = slice(self.ends.level, self.ends.level + key_states.shape[-2])
                self.all_keys[:, :, written] = key_states
                self.all_values[:, :, written] = value_states
            else:
                starts = self.ends.starts
                rows = torch.arange(len(starts), device=starts.device)[:, None]
                slots = starts[:, None] + torch.arange(key_states.shape[-2], device=starts.device)
                self.all_keys[rows, :, slots] = key_states.transpose(1, 2)
                self.all_values[rows, :, slots] = value_states.transpose(1, 2)
            self.keys = self.all_keys[:, :, : self.ends.reach]
            self.values = self.all_values[:, :, : self.ends.reach]
            return self.keys, self.values

        def get_seq_length(self) -> int:
            return self.ends.reach

        def batch_select_indices(self, indices: Tensor) -> None:
            self.all_keys = self.all_keys.index_select(0, indices)
            self.all_values = self.all_values.index_select(0, indices)

    return RewindableLayer


def _room(like: Any, capacity: int) -> Any:
    rows, heads, _, width = like.shape
    return like.new_zeros((rows, heads, capacity, width))
