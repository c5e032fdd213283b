"""A language model's trunk with one number on top. Imports torch: only import it inside a verb."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tunesmith import Message, ModelError
from tunesmith.chat import render_rows
from tunesmith.generation.batching import fixed_batches
from tunesmith.generation.virtual import virtual_tokens
from tunesmith.models import context_length, load_model, load_tokenizer, weights_digest
from tunesmith.training import TokenRows

log = logging.getLogger("tunesmith.rewards")
Pooling = Literal["last", "mean"]
HEAD, SETTINGS = "head.safetensors", "reward.json"
_SHORT = 384
_BATCH = 32
"""Answers scored at once; fixed, so that the same request always makes the same batches."""


class ScalarHead(nn.Module):
    """Rewards of whole conversations, (rows,): a linear map of the trunk's last hidden state.

    ``last`` reads the end-of-turn token (Ouyang et al. 2022), ``mean`` the average over the
    answer's tokens. ``gain`` multiplies the map, and with it the head's learning rate.
    """

    def __init__(self, model: Any, pooling: Pooling, gain: float = 1.0) -> None:
        super().__init__()
        if virtual_tokens(model):
            raise ModelError(
                "A reward model reads the trunk of a plain model, which would leave virtual tokens"
                " out. Start from the base, or from a model whose adapter was merged."
            )
        self.model, self.pooling, self.gain = model, pooling, gain
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        # A plain attribute: the trunk's weights are the model's and must not be listed twice.
        self.trunk = [getattr(inner, inner.base_model_prefix)]
        width = inner.config.get_text_config().hidden_size
        self.head = nn.Linear(width, 1, bias=False, device=inner.device)
        nn.init.zeros_(self.head.weight)

    def get_input_embeddings(self) -> Any:
        """Return the embedding, as optimisers that treat it apart ask for it."""
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> None:
        """Return nothing: there is no language-model head."""

    def forward(self, ids: Tensor, answer: Tensor, lengths: Tensor) -> Tensor:
        """Score ids (rows, tokens), padded on the right; ``answer`` marks the answers' tokens."""
        hidden = self.trunk[0](input_ids=ids, use_cache=False).last_hidden_state.float()
        if self.pooling == "last":
            pooled = hidden[torch.arange(len(ids)), lengths - 1]
        else:
            share = answer / answer.sum(dim=1, keepdim=True)
            pooled = torch.einsum("rt,rth->rh", share.to(hidden.dtype), hidden)
        return self.gain * nn.functional.linear(pooled, self.head.weight.float()).squeeze(1)


@contextmanager
def plain_attention(net: ScalarHead, longest: int, dtype: str) -> Iterator[None]:
    """Train with plain attention where it beats torch's fused kernel: short rows, bf16, CPU.

    The figures stand in `tunesmith.training.losses`.
    """
    inner = net.model.get_base_model() if hasattr(net.model, "get_base_model") else net.model
    native = inner.config._attn_implementation
    short = longest <= _SHORT and dtype == "bfloat16" and inner.device.type == "cpu"
    if not short or native != "sdpa":
        yield
        return
    inner.set_attn_implementation("eager")
    try:
        yield
    finally:
        inner.set_attn_implementation(native)


def score_rows(net: ScalarHead, tokens: TokenRows, rows: np.ndarray[Any, Any]) -> Tensor:
    """Return the rewards of these token rows, (rows,)."""
    ids, answer = tokens.padded(rows)
    lengths = torch.from_numpy(tokens.lengths[rows])
    device = net.head.weight.device
    return net(ids.to(device), answer.to(device), lengths.to(device))


def score_all(net: ScalarHead, tokens: TokenRows) -> list[float]:
    """Return every row's reward in fp32, batched by length, in the order of the rows."""
    rewards = [0.0] * len(tokens)
    lengths = [[0] * int(length) for length in tokens.lengths]
    net.eval()
    with torch.inference_mode():
        for batch in fixed_batches(lengths, _BATCH):
            scored = score_rows(net, tokens, np.array(batch)).tolist()
            for row, reward in zip(batch, scored, strict=True):
                rewards[row] = reward
    return rewards


@dataclass(frozen=True, slots=True)
class Settings:
    """What the scorer needs beside the weights; rewards leave it with mean 0 and deviation 1."""

    pooling: Pooling
    gain: float
    mean: float
    std: float

    def normalised(self, rewards: Sequence[float]) -> list[float]:
        """Return rewards on the scale of the training answers."""
        return [(reward - self.mean) / self.std for reward in rewards]


def save_head(net: ScalarHead, settings: Settings, out: Path) -> None:
    """Write the head (safetensors) and the settings (JSON) beside the model."""
    weight = net.head.weight.detach().float().cpu().contiguous()
    save_file({"weight": weight}, out / HEAD)
    fields = {name: getattr(settings, name) for name in Settings.__slots__}
    (out / SETTINGS).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


class OpenReward:
    """The scorer: ``(prompts, completions) -> rewards``; ``scale`` turns them into log-odds."""

    def __init__(self, folder: Path) -> None:
        self.settings = _settings(folder)
        self.scale = self.settings.std
        self.digest = weights_digest(folder)
        self.tokenizer, self.context = load_tokenizer(folder), context_length(folder)
        self.net = ScalarHead(load_model(folder), self.settings.pooling, self.settings.gain)
        weight = load_file(folder / HEAD)["weight"]
        if weight.shape != self.net.head.weight.shape:
            raise ModelError(f"{folder / HEAD} does not fit the model beside it.")
        self.net.head.weight.data.copy_(weight)

    def __call__(self, prompts: Sequence[list[Message]], completions: Sequence[str]) -> list[float]:
        """Score answers. One that does not fit into the context loses the prompt's beginning."""
        rows = [
            {"prompt": prompt, "completion": completion}
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        if not rows:
            return []
        rendered = render_rows(self.tokenizer, rows)
        long = [row for row in rendered if len(row.ids) > self.context]
        for row in long:
            del row.ids[: -self.context], row.mask[: -self.context]
        if long:
            log.warning(
                "%d answers exceed %d tokens; their prompts are cut", len(long), self.context
            )
        return self.settings.normalised(score_all(self.net, TokenRows.build(rendered)))


def _settings(folder: Path) -> Settings:
    path = folder / SETTINGS
    try:
        return Settings(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{folder} holds no Bradley-Terry reward model: {path.name} {error}."
        ) from error
