"""What people write is text, never control tokens.

A message that spells ``<|end|>`` or ``<|im_start|>`` must not end its turn or open another one.
While a conversation passes through the chat template, such spellings are stood in for by characters
of a private range; afterwards they are tokenised letter by letter.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FIRST = 0xF0000
_STANDING_IN = re.compile("([\U000f0000-\U000fffff])")


def guard(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return text in which stand-ins replace spelt special tokens."""
    # Such characters mean nothing anywhere; kept, they would be taken for stand-ins.
    text = _STANDING_IN.sub("\ufffd", text)
    for number, special in enumerate(_specials(tokenizer, len(tokenizer))):
        if special in text:
            text = text.replace(special, chr(_FIRST + number))
    return text


def unguard(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return the text as it was written."""
    specials = _specials(tokenizer, len(tokenizer))
    return _STANDING_IN.sub(lambda found: specials[ord(found[1]) - _FIRST], text)


def encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Return token ids; special tokens the template wrote count, guarded ones are letters."""
    if not texts:
        return []
    # The template spells the first token too; adding special tokens again would double it.
    encoded = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)
    ids: list[list[int]] = encoded["input_ids"]
    for number, text in enumerate(texts):
        if _STANDING_IN.search(text):
            ids[number] = _encode_guarded(tokenizer, text)
    return ids


def _encode_guarded(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = []
    for piece in _STANDING_IN.split(text):
        if piece:
            letters = bool(_STANDING_IN.fullmatch(piece))
            ids += tokenizer(
                unguard(tokenizer, piece), add_special_tokens=False, split_special_tokens=letters
            )["input_ids"]
    return ids


@lru_cache(maxsize=8)
def _specials(tokenizer: PreTrainedTokenizerBase, size: int) -> tuple[str, ...]:
    """Return the special tokens, longest first; ``size`` makes the cache see added ones."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    named = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    return tuple(sorted(named, key=lambda token: (-len(token), token)))
