"""One answer of llama.cpp, token by token.

llama.cpp reports a token only when the letters so far are whole: where a letter takes several
tokens, only the last of them is named, with all of its bytes. The others are found from the bytes;
where they could have been several tokens, the same request is asked again as a whole, which names
every token. Their probabilities are asked for separately, and only where somebody wants them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tunesmith import Generation, ModelError, Token, load_tokenizer
from tunesmith.generation.token_bytes import TokenBytes
from tunesmith_plugins.engines.llamacpp_process import Connection

_LIKELY = 100
"""Alternatives among which a token's probability is looked for first."""


class Answering(Protocol):
    """The open engine that streams."""

    vocabulary: int

    def next_logprobs(self, texts: list[list[int]], most: int) -> list[dict[int, float]]:
        """Return the best next tokens after each text."""
        ...


@dataclass(slots=True)
class Stream:
    """One request on its way to its end."""

    opened: Answering
    connection: Connection
    folder: Path
    options: dict[str, Any]
    how: Generation
    top: int | None
    _bytes: TokenBytes | None = field(default=None)

    def tokens(self, prompt: list[int]) -> Iterator[Token]:
        """Yield tokens up to one of our stop tokens or to the limit.

        llama.cpp ends at every token whose name it takes for an end of turn; where we do not, a
        further request goes on from there, as it does in `generate`.
        """
        written: list[int] = []
        while len(written) < self.how.max_new_tokens:
            begun = len(written)
            for token in self._request(prompt + written, begun):
                written.append(token.id)
                yield token
                if token.id in self.how.stop_ids:
                    return
            if len(written) == begun:
                raise ModelError("llama.cpp returned no tokens; its context is too small.")

    def _request(self, prompt: list[int], begun: int) -> Iterator[Token]:
        asked = {
            **self.options,
            "prompt": prompt,
            "seed": (self.how.seeds[0] + begun) % (2**32 - 1),
            "n_predict": self.how.max_new_tokens - begun,
        }
        shown = {"stream": True, "n_probs": max(1, self.top or 0)}
        written: list[int] = []
        for event in self.connection.events({**asked, **shown}):
            for place in event.get("completion_probabilities") or []:
                missing = event["tokens_predicted"] - len(written) - 1
                hidden = self._hidden(asked, written, place, missing) if missing else []
                for token in hidden:
                    yield self._looked_up(prompt + written, token)
                    written.append(token)
                written.append(int(place["id"]))
                yield self._told(place)

    def _told(self, place: dict[str, Any]) -> Token:
        token = int(place["id"])
        if self.top is None:
            return Token(token)
        best = [(int(one["id"]), float(one["logprob"])) for one in place["top_logprobs"]]
        return Token(token, float(place["logprob"]), tuple(best[: self.top]))

    def _hidden(
        self, asked: dict[str, Any], written: list[int], place: dict[str, Any], missing: int
    ) -> list[int]:
        """Return the tokens that were written before this one and not reported."""
        if self._bytes is None:
            self._bytes = TokenBytes(load_tokenizer(self.folder))
        whole, last = bytes(place["bytes"]), self._bytes.of(int(place["id"]))
        found = list(self._bytes.spellings(whole.removesuffix(last), missing))
        if len(found) == 1:
            return found[0]
        again = self.connection.complete(
            {**asked, "stream": False, "n_predict": len(written) + missing + 1}
        )
        ids = [int(token) for token in again[0]["tokens"]]
        if ids[: len(written)] != written or ids[-1] != int(place["id"]):
            raise ModelError(
                "llama.cpp did not name every token of a letter, and asked again it answered"
                " otherwise. Use exact: true, or ask for the whole answer."
            )
        return ids[len(written) : -1]

    def _looked_up(self, text: list[int], token: int) -> Token:
        """Return a token that was not reported, with the probabilities of its place."""
        if self.top is None:
            return Token(token)
        for most in (max(self.top, _LIKELY), self.opened.vocabulary):
            best = self.opened.next_logprobs([text], min(most, self.opened.vocabulary))[0]
            if token in best:
                ranked = sorted(best.items(), key=lambda one: -one[1])
                return Token(token, best[token], tuple(ranked[: self.top]))
        return replace(Token(token), logprob=float("-inf"))
