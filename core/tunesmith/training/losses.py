"""Next-token cross-entropy, computed only where a token is supervised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.generation.virtual import virtual_tokens
from tunesmith.training.batches import Indices, TokenRows, rounded

if TYPE_CHECKING:
    from torch import Tensor, nn

_EAGER_UP_TO = 384
"""Row length up to which plain attention beats torch's fused CPU kernel in bf16 (measured on
AVX-512 with bf16: 1.33x at 128 tokens, 1.2x at 256 and 384, 0.95x at 512)."""

_POSITIONS = 128


class Forward:
    """Runs a causal model and returns the logits of chosen positions.

    The head is the widest matrix of a small model, so where the model can be taken apart into a
    trunk and a head, the head sees the chosen positions only. Whether it can is tried once: both
    ways must give the same logits (a model may scale or cap them). One with virtual tokens is not
    tried: its trunk alone would leave them out.
    """

    def __init__(self, model: Any, compiled: bool = False) -> None:
        self.model = model
        self.inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.native = self.inner.config._attn_implementation
        self.parts = None if virtual_tokens(model) else _parts(model, self.inner)
        if compiled and self.parts is not None:
            self.parts = (_fused(self.parts[0]), self.parts[1])

    def logits(self, ids: Tensor, chosen: Tensor) -> Tensor:
        """Return (chosen, vocabulary) logits for ids (rows, length).

        ``chosen`` are flat positions into rows x length, each at most once.
        """
        from torch.nn import functional

        self._choose_attention(ids)
        if self.parts is None:
            whole = self.model(input_ids=ids, use_cache=False).logits[:, -ids.shape[1] :]
            return functional.embedding(chosen, whole.flatten(0, 1))
        trunk, head = self.parts
        hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
        # An embedding lookup: its gradient is several times cheaper on the CPU than indexing's.
        # The number of positions is rounded up for the same reason as lengths are.
        spare = functional.pad(chosen, (0, rounded(len(chosen), _POSITIONS) - len(chosen)))
        logits: Tensor = head(functional.embedding(spare, hidden.flatten(0, 1)))
        return logits[: len(chosen)]

    def _choose_attention(self, ids: Tensor) -> None:
        import torch

        if self.native != "sdpa" or ids.device.type != "cpu":
            return
        plain = torch.is_autocast_enabled("cpu") and ids.shape[1] <= _EAGER_UP_TO
        wanted = "eager" if plain else self.native
        if self.inner.config._attn_implementation != wanted:
            self.inner.set_attn_implementation(wanted)


def _fused(trunk: nn.Module) -> nn.Module:
    """Return the trunk with its operations fused; it shares the weights."""
    import torch

    # Dynamic from the start: batches come in many shapes, and each would be compiled anew.
    fused: nn.Module = torch.compile(trunk, dynamic=True)  # type: ignore[assignment]
    return fused


def _parts(model: Any, inner: Any) -> tuple[nn.Module, nn.Module] | None:
    """Return (trunk, head) if head(trunk(x)) gives the model's own logits, else None."""
    import torch

    trunk, head = getattr(inner, inner.base_model_prefix, None), inner.get_output_embeddings()
    if trunk is None or head is None or trunk is inner:
        return None
    probe = torch.arange(8, device=next(model.parameters()).device)[None] % inner.config.vocab_size
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            whole = model(input_ids=probe, use_cache=False).logits
            apart = head(trunk(input_ids=probe, use_cache=False).last_hidden_state)
    finally:
        model.train(training)
    same = whole.shape == apart.shape and torch.allclose(whole, apart, rtol=1e-4, atol=1e-5)
    return (trunk, head) if same else None


class TokenLoss:
    """The objective of pre-training and fine-tuning: cross-entropy summed over supervised tokens.

    `run_loop` divides by the number of supervised tokens of the whole step, so the loss does not
    depend on how a step is cut into micro-batches.
    """

    def __init__(self, model: Any, rows: TokenRows, compiled: bool = False) -> None:
        self.forward = Forward(model, compiled)
        self.rows = rows

    def weight(self, rows: Indices) -> int:
        """Return the number of supervised tokens."""
        return int(self.rows.targets[rows].sum())

    def tokens(self, rows: Indices) -> int:
        """Return the number of tokens, padding not counted."""
        return int(self.rows.lengths[rows].sum())

    def loss(self, rows: Indices) -> Tensor:
        """Return the summed cross-entropy in nats, a scalar in fp32."""
        from torch.nn import functional

        ids, targets, chosen = supervised(self.rows, rows, self.forward)
        logits = self.forward.logits(ids, chosen)
        return functional.cross_entropy(logits.float(), targets, reduction="sum")


def supervised(rows: TokenRows, batch: Indices, forward: Forward) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids (rows, length), supervised tokens, and the flat positions that predict them."""
    ids, mask = rows.padded(batch)
    targets = ids[mask]
    # Token t is predicted at position t - 1; a row's first token is never supervised.
    chosen = mask.flatten().nonzero().squeeze(1) - 1
    device = forward.inner.device
    return ids.to(device), targets.to(device), chosen.to(device)
