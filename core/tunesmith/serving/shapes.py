"""The JSON of OpenAI's interface: answers, chunks of a stream, probabilities, errors.

Source: https://platform.openai.com/docs/api-reference (chat, completions). What Tunesmith adds
stands under the key ``tunesmith``, which OpenAI's clients pass over.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.generation.token_bytes import TokenBytes
from tunesmith.records import Token

Json = dict[str, Any]


@dataclass(slots=True)
class Usage:
    """Tokens read and written."""

    prompt: int = 0
    completion: int = 0

    def add(self, read: int, written: int) -> None:
        """Count another choice."""
        self.prompt, self.completion = self.prompt + read, self.completion + written

    def shape(self) -> Json:
        """Return OpenAI's counts."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


@dataclass(slots=True)
class Head:
    """What every object of one answer repeats."""

    chat: bool
    model: str
    fingerprint: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def shape(self, choices: list[Json], *, chunk: bool = False, **more: Any) -> Json:
        """Return a whole answer, or a chunk of one that streams."""
        kind = "chat.completion" if self.chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": f"{kind}.chunk" if chunk and self.chat else kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            **more,
        }

    def piece(self, index: int, text: str, logprobs: Json | None, first: bool) -> Json:
        """Return the chunk with a piece of one choice."""
        if not self.chat:
            return self._chunk({"index": index, "text": text, "logprobs": logprobs})
        role = {"role": "assistant"} if first else {}
        delta = {**role, "content": text}
        return self._chunk({"index": index, "delta": delta, "logprobs": logprobs})

    def last(self, index: int, finish: str, told: Json) -> Json:
        """Return the chunk that ends one choice."""
        body: Json = {"delta": {}} if self.chat else {"text": "", "logprobs": None}
        return self._chunk({"index": index, **body, "finish_reason": finish}, told)

    def _chunk(self, choice: Json, told: Json | None = None) -> Json:
        more = {"tunesmith": told} if told else {}
        return self.shape([{"finish_reason": None, **choice}], chunk=True, **more)

    def choice(self, index: int, text: str, logprobs: Json | None, finish: str) -> Json:
        """Return one choice of a whole answer."""
        said: Json = {"message": {"role": "assistant", "content": text, "refusal": None}}
        said = said if self.chat else {"text": text}
        return {"index": index, **said, "logprobs": logprobs, "finish_reason": finish}


def chat_logprobs(tokens: Sequence[Token], spelt: TokenBytes) -> Json:
    """Return the probabilities of tokens as chat answers carry them."""
    return {
        "content": [
            {
                **_entry(token.id, token.logprob, spelt),
                "top_logprobs": [_entry(other, value, spelt) for other, value in token.top],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def _entry(token: int, logprob: float | None, spelt: TokenBytes) -> Json:
    whole = spelt.of(token)
    return {"token": _text(whole), "logprob": _finite(logprob), "bytes": list(whole)}


def _text(whole: bytes) -> str:
    """Return bytes as text; where they are no text, as the bytes they are."""
    try:
        return whole.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in whole)


def _finite(logprob: float | None) -> float:
    # JSON has no -inf; OpenAI writes -9999 for what is all but impossible.
    return -9999.0 if logprob is None else max(logprob, -9999.0)


def text_logprobs(tokens: Sequence[Token], spelt: TokenBytes, offset: int) -> Json:
    """Return the probabilities of tokens as text completions carry them.

    ``offset`` is how many characters of the answer stand before the first one.
    """
    names = [_text(spelt.of(token.id)) for token in tokens]
    starts = [offset + sum(map(len, names[:at])) for at in range(len(names))]
    return {
        "tokens": names,
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top_logprobs": [
            {_text(spelt.of(other)): _finite(value) for other, value in token.top}
            for token in tokens
        ],
        "text_offset": starts,
    }


def error(message: str, kind: str, code: str | None = None, param: str | None = None) -> Json:
    """Return what a refused request is answered with."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
