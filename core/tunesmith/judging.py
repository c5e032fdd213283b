"""Reading what a language model that judges has said: from its probabilities, else its words.

Nothing is guessed: what names none of the words that were asked for is unreadable, and counted.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.openai_api import Said
from tunesmith.records import Message

_WRAPPING = " \t\r\n.:;,!*_`'\"()[]{}<>"
"""What may stand around a verdict without being part of it."""
TOP_LOGPROBS = 20
"""Tokens whose probability is asked for at each place: the most that OpenAI and vLLM give."""


def shares(said: Said, words: Sequence[str], least: float) -> dict[str, float] | None:
    """Return how probable each word was as the answer, as shares of all of them together.

    Read where the first visible token stands, spellings such as `` A`` and ``A`` taken together.
    None where the server gives no probabilities, or where the words together held less than
    ``least``: the model was about to say something else.
    """
    place = next((at for at, token in enumerate(said.written) if token.strip(_WRAPPING)), None)
    if place is None:
        return None
    found = dict.fromkeys(words, 0.0)
    for token, logprob in said.likely[place].items():
        word = token.strip(_WRAPPING)
        if word in found:
            found[word] += math.exp(logprob)
    total = math.fsum(found.values())
    if total <= 0 or total < least:
        return None
    return {word: share / total for word, share in found.items()}


def stated(text: str, words: Sequence[str]) -> dict[str, float] | None:
    """Return all of the share for the word that a text consists of; None when it is no such word.

    Brackets, quotation marks and stops around it do not matter; any other word beside it does.
    """
    word = text.strip(_WRAPPING)
    return {one: float(one == word) for one in words} if word in words else None


def concluded(text: str, words: Sequence[str], mark: str) -> dict[str, float] | None:
    """Return the same for a text that reasons first: its last line must be ``MARK: word``."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    before, colon, after = lines[-1].rpartition(":")
    if not colon or before.strip(_WRAPPING).lower() != mark.lower():
        return None
    return stated(after, words)


def transcript(messages: Sequence[Message]) -> str:
    """Return a conversation as a judge reads it; a single question stands alone."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{one['role']}]\n{one['content']}" for one in messages)


def block(name: str, text: str) -> str:
    """Return a text between marks, so that a judge can tell material from instructions.

    The marks hold a hash of the text, which no text can contain: an answer cannot close its own
    block and go on as if it were the question.
    """
    mark = f"{name}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return f"<{mark}>\n{text}\n</{mark}>"


def known_answer(reference: Mapping[str, Any]) -> str:
    """Return what is known of the right answer, as a judge reads it."""
    return json.dumps(dict(reference), ensure_ascii=False, sort_keys=True)
