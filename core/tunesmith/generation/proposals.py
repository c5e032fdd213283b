"""Guesses at the tokens to come, which the model then checks all at once.

Prompt lookup: Saxena, "Prompt Lookup Decoding", 2023
(https://github.com/apoorvumang/prompt-lookup-decoding). Draft model: Leviathan et al., "Fast
Inference from Transformers via Speculative Decoding", ICML 2023, https://arxiv.org/abs/2211.17192.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tunesmith.generation.drawing import Reshape, pick_by_chance, pick_largest
from tunesmith.generation.rewinding import Reader

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Guess:
    """Tokens that may come next in one row."""

    tokens: list[int]
    chances: Tensor | None = None
    """The distribution each token was drawn from, (tokens, vocabulary), float64; None for a token
    that was not drawn."""


class Guesser(Protocol):
    """Guesses for the rows of one batch; ``rows`` are positions among those it began with."""

    def guess(
        self, rows: Sequence[int], texts: Sequence[list[int]], most: Sequence[int]
    ) -> list[Guess]:
        """Return one guess per row, of at most ``most[row]`` tokens each."""
        ...


@dataclass(slots=True)
class PromptLookup:
    """Guess that what followed the last few tokens earlier will follow again.

    Wrong guesses cost arithmetic, so a row's guesses grow only while they come true (`_Trust`).
    """

    tokens: int
    """Longest guess."""
    longest: int
    """Tokens that must have stood there before; where so many did not, one less, down to two."""
    _rows: dict[int, _Seen] = field(default_factory=dict)

    def guess(
        self, rows: Sequence[int], texts: Sequence[list[int]], most: Sequence[int]
    ) -> list[Guess]:
        """Return what followed the newest earlier occurrence; nothing where there is none."""
        return [
            Guess(self._one(self._rows.setdefault(row, _Seen()), text, room))
            for row, text, room in zip(rows, texts, most, strict=True)
        ]

    def _one(self, seen: _Seen, text: list[int], room: int) -> list[int]:
        shortest = min(2, self.longest)
        seen.note(text, shortest, self.longest)
        length = min(seen.trust.length(text, self.tokens), room)
        found = seen.what_followed(text, shortest, self.longest, length) if length > 0 else []
        seen.trust.guessed = (len(text), found)
        return found


@dataclass(slots=True)
class _Seen:
    """What one row's text holds: where each few tokens stood last."""

    trust: _Trust = field(default_factory=lambda: _Trust())
    places: dict[tuple[int, ...], int] = field(default_factory=dict)
    read: int = 1

    def note(self, text: list[int], shortest: int, longest: int) -> None:
        # The last token is left out: what follows it is the question.
        for end in range(self.read, len(text)):
            for size in range(shortest, min(longest, end) + 1):
                self.places[tuple(text[end - size : end])] = end
        self.read = max(self.read, len(text))

    def what_followed(self, text: list[int], shortest: int, longest: int, length: int) -> list[int]:
        for size in range(min(longest, len(text)), shortest - 1, -1):
            place = self.places.get(tuple(text[-size:]))
            if place is not None:
                # A text that repeats itself within the guess is taken to go on doing so.
                return [text[place + at % (len(text) - place)] for at in range(length)]
        return []


FIRST = 2
"""Length of a row's first guess."""
LONGEST_PAUSE = 31


@dataclass(slots=True)
class _Trust:
    """How long a row's next guess may be.

    Twice as long after one that came true as a whole; none for a while after one of which nothing
    did, and for longer after each such.
    """

    allowed: int = field(default_factory=lambda: FIRST)
    pause: int = 0
    misses: int = 0
    guessed: tuple[int, list[int]] = (0, [])
    """Where the last guess began, and the guess."""

    def length(self, text: list[int], most: int) -> int:
        """Return how long the next guess may be, having seen what became of the last one."""
        if self.guessed[1]:
            self._learn(text)
        elif self.pause:
            self.pause -= 1
        return 0 if self.pause else min(self.allowed, most)

    def _learn(self, text: list[int]) -> None:
        start, guess = self.guessed
        came = text[start : start + len(guess)]
        true = _shared(guess, came)
        if true:
            whole = true == len(guess)
            self.allowed, self.misses = (2 * len(guess) if whole else true + 1), 0
        else:
            self.misses += 1
            self.allowed, self.pause = FIRST, min(2 ** (self.misses + 1) - 1, LONGEST_PAUSE)


class DraftModel:
    """Let a small model write ahead, one token after another."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: int,
        reshape: Reshape,
        prompts: Sequence[list[int]],
        chances: Tensor | None,
        steps: int,
    ) -> None:
        """Begin a batch; ``chances`` (rows, steps) are what it draws by, None for the largest."""
        self.tokens = tokens
        self.reshape = reshape
        self.chances = chances
        self.begun = [len(prompt) for prompt in prompts]
        self.reader = Reader(model, len(prompts), max(self.begun) + steps + tokens + 2)
        self.rows = list(range(len(prompts)))
        self.seen: list[list[int]] = [[] for _ in prompts]

    def guess(
        self, rows: Sequence[int], texts: Sequence[list[int]], most: Sequence[int]
    ) -> list[Guess]:
        """Return what the small model would write."""
        import torch

        self._catch_up(list(rows), texts)
        drafts: list[list[int]] = [[] for _ in rows]
        laws: list[list[Tensor]] = [[] for _ in rows]
        for _ in range(min(self.tokens, max(most))):
            live = [len(d) < m for d, m in zip(drafts, most, strict=True)]
            news = [
                (text + draft)[len(seen) :]
                for text, draft, seen in zip(texts, drafts, self.seen, strict=True)
            ]
            self._write(news, live, texts, drafts, laws)
        return [
            Guess(draft, torch.stack(law) if law else None)
            for draft, law in zip(drafts, laws, strict=True)
        ]

    def _write(
        self,
        news: list[list[int]],
        live: list[bool],
        texts: Sequence[list[int]],
        drafts: list[list[int]],
        laws: list[list[Tensor]],
    ) -> None:
        """Read what is new, and add one token to the draft of every live row."""
        import torch

        news = [new if alive else [] for new, alive in zip(news, live, strict=True)]
        every = self.reader.read(news, keep=0)
        for seen, new in zip(self.seen, news, strict=True):
            seen += new
        chosen = [row for row, alive in enumerate(live) if alive]
        last = torch.stack([every[row, len(news[row]) - 1] for row in chosen])
        logits = self.reshape(last, [texts[row] + drafts[row] for row in chosen])
        if self.chances is None:
            picked = pick_largest(logits)
        else:
            picked = pick_by_chance(logits, self._chance(chosen, texts, drafts))
            for row, law in zip(chosen, logits.double().softmax(dim=-1), strict=True):
                laws[row].append(law)
        for row, token in zip(chosen, picked.tolist(), strict=True):
            drafts[row].append(token)

    def _chance(
        self, chosen: list[int], texts: Sequence[list[int]], drafts: list[list[int]]
    ) -> Tensor:
        """Return the number each row draws its next token by: that of the token's own place."""
        import torch

        assert self.chances is not None
        first = [self.rows[row] for row in chosen]
        steps = [len(texts[row]) + len(drafts[row]) - self.begun[self.rows[row]] for row in chosen]
        return self.chances[torch.tensor(first), torch.tensor(steps)]

    def _catch_up(self, rows: list[int], texts: Sequence[list[int]]) -> None:
        """Drop finished rows, forget what was not accepted, and read a new batch's prompts."""
        if rows != self.rows:
            kept = [self.rows.index(row) for row in rows]
            self.reader.keep(kept)
            self.seen = [self.seen[place] for place in kept]
            self.rows = rows
        # Never all of the text: its last token must be read.
        self.seen = [
            seen[: _shared(seen, text[:-1])] for seen, text in zip(self.seen, texts, strict=True)
        ]
        self.reader.rewind([len(seen) for seen in self.seen])
        if not any(self.seen) and max(map(len, texts)) > 1:
            self.reader.read([text[:-1] for text in texts], keep=1)
            self.seen = [text[:-1] for text in texts]


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how far two rows agree."""
    pairs = zip(first, second, strict=False)
    shorter = min(len(first), len(second))
    return next((at for at, (one, other) in enumerate(pairs) if one != other), shorter)
