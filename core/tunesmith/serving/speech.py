"""From tokens to the text that a reader may already see.

Held back are the bytes of a letter that is not whole yet, and what may be the beginning of a stop
text. The pieces join to the text of the whole answer, letter by letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tunesmith.generation.reference import Decode
from tunesmith.records import Token

BROKEN = "\ufffd"
"""What a tokenizer writes for bytes that are no letter, or none yet."""
_WINDOW = 64
"""Tokens after which the beginning is no longer decoded again."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text that may be shown, and the tokens it is made of."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(slots=True)
class Speech:
    """One answer on its way to its reader."""

    decode: Decode
    stop_ids: Sequence[int]
    stops: Sequence[str] = ()
    """Texts that end the answer; they are no part of it."""
    ids: list[int] = field(default_factory=list)
    """The tokens so far, a stop token included."""
    finish: str | None = None
    """``stop`` or ``length`` once the answer has ended."""
    said: str = ""
    """What was handed out so far."""
    _waiting: list[Token] = field(default_factory=list)
    _begun: str = ""
    _anchor: int = 0

    def add(self, token: Token) -> Piece | None:
        """Take a token; return what may be shown now, if anything."""
        self.ids.append(token.id)
        if token.id in self.stop_ids:
            return self.end("stop")
        self._waiting.append(token)
        whole = self._whole(self.ids)
        for stop in self.stops:
            at = whole.find(stop, max(0, len(self.said) - len(stop)))
            if at >= 0:
                self.finish = "stop"
                piece = self._hand_out(whole[:at])
                self._waiting.clear()
                return piece
        return self._hand_out(whole[: len(whole) - _held(whole, self.stops)])

    def end(self, reason: str) -> Piece | None:
        """Return what was held back; the answer has ended."""
        self.finish = reason
        stopped = bool(self.ids) and self.ids[-1] in self.stop_ids
        return self._hand_out(self._whole(self.ids[:-1] if stopped else self.ids))

    def _hand_out(self, text: str) -> Piece | None:
        new = text[len(self.said) :]
        if not new and not (self.finish and self._waiting):
            return None
        piece = Piece(new, tuple(self._waiting))
        self.said += new
        self._waiting.clear()
        return piece

    def _whole(self, ids: list[int]) -> str:
        """Return the text of the tokens; the first ones are decoded once and not at every step."""
        rest = self.decode(ids[self._anchor :])
        whole = self._begun + rest
        if len(ids) - self._anchor >= _WINDOW and not rest.endswith(BROKEN):
            middle = self._anchor + _WINDOW // 2
            begun, later = self.decode(ids[self._anchor : middle]), self.decode(ids[middle:])
            # Some tokenizers write a token otherwise at the beginning of a text.
            if begun + later == rest:
                self._begun, self._anchor = self._begun + begun, middle
        return whole


def _held(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end may still change or turn out to end the answer."""
    unfinished = len(text) - len(text.rstrip(BROKEN))
    starts = (
        size
        for stop in stops
        for size in range(min(len(stop) - 1, len(text)), 0, -1)
        if text.endswith(stop[:size])
    )
    return max(unfinished, max(starts, default=0))
