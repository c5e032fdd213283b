"""New models from nothing: an architecture, a tokenizer trained on the rows, random weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, model_validator

from tunesmith.chat import END

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PAD = "<|pad|>"
ROLES = ("<|user|>", "<|assistant|>", "<|system|>")
SPECIAL_TOKENS = (PAD, END, *ROLES)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}"
)
_TOKENIZER_ROWS = 40_000
"""Texts a tokenizer learns from; more hardly change 1536 merges."""


class Architecture(BaseModel):
    """The shape of a new Llama-style model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    hidden_size: int = 256
    """Width of the residual stream."""
    intermediate_size: int = 512
    """Width inside the feed-forward blocks."""
    layers: int = 4
    """Number of blocks."""
    heads: int = 4
    """Query heads; they divide the hidden size."""
    kv_heads: int = 2
    """Key and value heads; they divide the query heads."""
    context: int = 1024
    """Longest sequence, in tokens."""
    vocab_size: int = 1536
    """Size of the tokenizer trained on the rows; ignored where a tokenizer is given."""
    rope_theta: float = 10000.0
    """Base of the rotary position embedding."""
    tied_embeddings: bool = True
    """Whether the output head shares the embedding's weights."""

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"heads ({self.heads}) must divide hidden_size ({self.hidden_size}),"
                f" and kv_heads ({self.kv_heads}) must divide heads"
            )
        return self


def train_tokenizer(texts: Sequence[str], vocab_size: int, context: int) -> PreTrainedTokenizerBase:
    """Return a byte-level BPE tokenizer learnt from an even sample of the texts.

    No merge joins two digits, so that a number is spelt digit by digit; its first one takes the
    space before it along, or a lone space would stand between a number and the word it belongs to,
    which small models find hard to look past. Text is split by GPT-2's rule, which llama.cpp knows.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    rule = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Split(Regex(r" ?[0-9]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rule])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(texts), trainer)
    # There are no merges across digits to be had now, so the rule alone splits the same way.
    tokenizer.pre_tokenizer = rule
    made: PreTrainedTokenizerBase = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=list(ROLES),
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    return made


def _sample(texts: Sequence[str]) -> Iterable[str]:
    return texts[:: max(1, len(texts) // _TOKENIZER_ROWS)]


def store_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer so that ``folder`` is always absent or whole."""
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    tokenizer.save_pretrained(str(temporary))
    temporary.rename(folder)


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Read what `store_tokenizer` wrote."""
    from transformers import PreTrainedTokenizerFast

    read: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(str(folder))
    return read


def new_model(
    shape: Architecture, tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """Return a randomly initialised model for a tokenizer, in fp32, the same one for one seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tied_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
