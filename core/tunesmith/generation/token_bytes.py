"""The bytes that each token of a vocabulary spells.

A letter may take several tokens, and one of those alone has no text, only bytes. Byte-level BPE
writes a byte as a stand-in letter (GPT-2's table); SentencePiece writes ``<0xE2>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"


class TokenBytes:
    """Looks up what tokens spell, and which tokens spell something."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)

    def of(self, token: int) -> bytes:
        """Return the bytes of one token; a special token spells its name."""
        piece = str(self.tokenizer.convert_ids_to_tokens(token) or "")
        if token in self._special:
            return piece.encode()
        if found := _FALLBACK.fullmatch(piece):
            return bytes([int(found[1], 16)])
        if self._byte_level and all(letter in self._letters for letter in piece):
            return bytes(self._letters[letter] for letter in piece)
        return piece.replace(_SPACE, " ").encode()

    def spellings(self, text: bytes, count: int) -> Iterator[list[int]]:
        """Yield every way to write ``text`` with exactly ``count`` tokens."""
        if count == 0:
            if not text:
                yield []
            return
        for size in range(1, len(text) - count + 2):
            for token in self._tokens.get(text[:size], ()):
                for rest in self.spellings(text[size:], count - 1):
                    yield [token, *rest]

    @cached_property
    def _letters(self) -> dict[str, int]:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        table: dict[int, str] = bytes_to_unicode()  # type: ignore[no-untyped-call]
        return {letter: byte for byte, letter in table.items()}

    @cached_property
    def _byte_level(self) -> bool:
        """Say whether a letter beyond ASCII is written in stand-ins."""
        pieces = self.tokenizer.tokenize("\u20ac")
        return "".join(pieces).endswith("\u00e2\u0124\u00ac")

    @cached_property
    def _tokens(self) -> dict[bytes, list[int]]:
        known: dict[bytes, list[int]] = {}
        for token in self.tokenizer.get_vocab().values():
            if token not in self._special:
                known.setdefault(self.of(token), []).append(token)
        return known
