"""The reference loop with guesses: several tokens per step of the model, the same answers.

Each step reads the last token and a guess at the ones to come, and keeps the guess as far as the
model itself would have gone. For a token that was not drawn (greedy decoding, prompt lookup) that
means: as far as the model's own pick, made with the very number the plain loop would use, is the
guessed token. A rejected guess then already has its replacement, the answer is the plain loop's
token for token, and a guessed token x is kept with the probability p(x) that speculative sampling
prescribes. A token that a draft model drew from q is kept with the probability min(1, p(x)/q(x)),
and replaced by a draw from max(p - q, 0): the distribution is the model's, the draws are others.

Sources: Leviathan et al., ICML 2023, https://arxiv.org/abs/2211.17192, algorithm 1; Chen et al.,
"Accelerating Large Language Model Decoding with Speculative Sampling", 2023,
https://arxiv.org/abs/2302.01318.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.generation.batching import check_request, fixed_batches
from tunesmith.generation.drawing import (
    Reshape,
    pick_by_chance,
    pick_largest,
    reshaper,
    uniforms,
)
from tunesmith.generation.proposals import DraftModel, Guess, Guesser, PromptLookup
from tunesmith.generation.reference import (
    Decode,
    check_model,
    completion,
    context_length,
    evaluating,
)
from tunesmith.generation.rewinding import Reader
from tunesmith.generation.virtual import virtual_tokens
from tunesmith.records import Completion, Generation

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_STREAMS = 3
"""Numbers per token: the pick (the plain loop's own), whether a guess is kept, the draft's pick."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Guess from what the row itself already holds."""

    tokens: int = 8
    """Longest guess."""
    longest: int = 3
    """Tokens that must have stood there before."""

    def begin(self, batch: Batch) -> Guesser:
        """Return the guesser of one batch."""
        return PromptLookup(self.tokens, self.longest)


@dataclass(frozen=True, slots=True)
class Draft:
    """Guess with a smaller model of the same tokenizer."""

    model: PreTrainedModel
    tokens: int = 4
    """Tokens written ahead."""

    def begin(self, batch: Batch) -> Guesser:
        """Return the guesser of one batch."""
        chances = None if batch.chances is None else batch.chances[2]
        return DraftModel(
            self.model, self.tokens, batch.reshape, batch.prompts, chances, batch.how.max_new_tokens
        )


@dataclass(slots=True)
class Batch:
    """The rows that are written together."""

    prompts: list[list[int]]
    how: Generation
    reshape: Reshape
    chances: Tensor | None
    """Shape (3, rows, steps); None when nothing is drawn."""


def _refuse(model: PreTrainedModel, how: Generation) -> None:
    """Raise ModelError for what cannot be guessed ahead: searches, and virtual tokens."""
    if how.sampler.searches:
        raise ModelError(
            f"The sampler {how.sampler.name!r} searches whole answers, so no token can be guessed"
            " ahead for it. Leave the speculative accelerator out, or choose another sampler."
        )
    if virtual_tokens(model):
        raise ModelError(
            "A model with virtual tokens (prompt or prefix tuning) cannot guess tokens ahead."
            " Leave the speculative accelerator out."
        )


def generate_with_guesses(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    how: Generation,
    decode: Decode,
    guesses: Lookup | Draft,
    counts: Counter[str] | None = None,
) -> list[Completion]:
    """Continue each prompt as `reference.generate` does, in fewer steps where guesses come true.

    ``counts`` gets ``target_steps`` (forward passes of the model, that over the prompt included),
    ``plain_steps`` (what the plain loop takes for the same answers), ``written``, ``proposed`` and
    ``accepted`` tokens. Raises ModelError as the plain loop does, and for a model whose cache
    cannot be rewound.
    """
    check_model(model)
    check_request(prompts, how, context_length(model), model.config.get_text_config().vocab_size)
    _refuse(model, how)
    counts = Counter() if counts is None else counts
    written: dict[int, list[int]] = {}
    with evaluating(model):
        for places in fixed_batches(prompts, how.batch_size):
            rows = [prompts[i] for i in places]
            batch = Batch(rows, how, reshaper(how.sampler), _chances(places, how))
            loop = _Loop(model, batch, guesses.begin(batch), guesses.tokens, counts)
            answers = loop.run()
            written.update(zip(places, answers, strict=True))
    return [completion(written[i], how, decode) for i in range(len(prompts))]


def _chances(places: Sequence[int], how: Generation) -> Tensor | None:
    if not how.sampler.draws:
        return None
    steps = how.max_new_tokens
    # A stream's first numbers do not depend on how many are taken: they are the plain loop's.
    drawn = uniforms([how.seeds[i] for i in places], _STREAMS * steps)
    return drawn.reshape(len(places), _STREAMS, steps).transpose(0, 1)


class _Loop:
    """One batch on its way to its end."""

    def __init__(
        self,
        model: PreTrainedModel,
        batch: Batch,
        guesser: Guesser,
        longest_guess: int,
        counts: Counter[str],
    ) -> None:
        self.batch, self.guesser, self.counts = batch, guesser, counts
        self.texts = [list(prompt) for prompt in batch.prompts]
        self.begun = [len(prompt) for prompt in batch.prompts]
        self.rows = list(range(len(self.texts)))
        # The padding of a row near its end is as long as another row's guess.
        capacity = max(self.begun) + batch.how.max_new_tokens + longest_guess + 1
        self.reader = Reader(model, len(self.texts), capacity)
        self.stops = set(batch.how.stop_ids)

    def run(self) -> list[list[int]]:
        """Return the new tokens of each row, stop token included."""
        self._read_prompts()
        live = [row for row in self.rows if not self._done(row)]
        while live:
            self._drop_finished(live)
            self._step()
            live = [row for row in self.rows if not self._done(row)]
        answers = [text[begun:] for text, begun in zip(self.texts, self.begun, strict=True)]
        self.counts["target_steps"] += self.reader.forwards
        self.counts["plain_steps"] += max(map(len, answers))
        self.counts["written"] += sum(map(len, answers))
        return answers

    def _read_prompts(self) -> None:
        """Read the prompts and take each row's first token, as the plain loop does."""
        last = self.reader.read_last(self.texts)[:, None]
        nothing = [Guess([]) for _ in self.rows]
        logits = self._reshaped(last, self.texts, nothing)
        for row, mine in zip(self.rows, logits, strict=True):
            self.texts[row] += self._kept(row, nothing[row], mine)

    def _left(self, row: int) -> int:
        return self.batch.how.max_new_tokens - (len(self.texts[row]) - self.begun[row])

    def _done(self, row: int) -> bool:
        new = self.texts[row][self.begun[row] :]
        return bool(new) and (new[-1] in self.stops or not self._left(row))

    def _drop_finished(self, live: list[int]) -> None:
        if len(live) < len(self.rows):
            self.reader.keep([self.rows.index(row) for row in live])
            self.rows = live

    def _step(self) -> None:
        """Read each row's last token and its guess, and keep what the model agrees with."""
        texts = [self.texts[row] for row in self.rows]
        guesses = self.guesser.guess(self.rows, texts, [self._left(row) - 1 for row in self.rows])
        news = [[text[-1], *guess.tokens] for text, guess in zip(texts, guesses, strict=True)]
        read = self.reader.read(news, keep=0)
        logits = self._reshaped(read, texts, guesses)
        for row, guess, mine in zip(self.rows, guesses, logits, strict=True):
            kept = self._kept(row, guess, mine)
            self.counts["proposed"] += len(guess.tokens)
            self.counts["accepted"] += len(kept) - 1
            self.texts[row] += self._up_to_stop(kept)
        self.reader.rewind([len(self.texts[row]) - 1 for row in self.rows])

    def _reshaped(self, read: Tensor, texts: list[list[int]], guesses: list[Guess]) -> list[Tensor]:
        """Return each row's logits after its last token and after each guessed one."""
        import torch

        sizes = [len(guess.tokens) + 1 for guess in guesses]
        flat = torch.cat([read[row, :size] for row, size in enumerate(sizes)])
        before = [
            text + guess.tokens[:place]
            for text, guess, size in zip(texts, guesses, sizes, strict=True)
            for place in range(size)
        ]
        shaped = self.batch.reshape(flat, before)
        return list(shaped.split(sizes))  # type: ignore[no-untyped-call]

    def _kept(self, row: int, guess: Guess, logits: Tensor) -> list[int]:
        """Return the accepted beginning of a guess and the token that comes after it."""
        step = len(self.texts[row]) - self.begun[row]
        if self.batch.chances is None:
            return _agreed(guess.tokens, pick_largest(logits).tolist())
        picks, keeps = (
            stream[row, step : step + len(logits)].to(logits.device)
            for stream in self.batch.chances[:2]
        )
        if guess.chances is None:
            return _agreed(guess.tokens, pick_by_chance(logits, picks).tolist())
        return _accepted(guess.tokens, guess.chances, logits, picks, keeps)

    def _up_to_stop(self, tokens: list[int]) -> list[int]:
        end = next((at + 1 for at, token in enumerate(tokens) if token in self.stops), None)
        return tokens[:end]


def _agreed(guessed: list[int], picks: list[int]) -> list[int]:
    """Return the model's own picks as long as they were guessed, and the one after."""
    wrong = next((at for at, token in enumerate(guessed) if token != picks[at]), len(guessed))
    return picks[: wrong + 1]


def _accepted(
    guessed: list[int], laws: Tensor, logits: Tensor, picks: Tensor, keeps: Tensor
) -> list[int]:
    """Return what speculative sampling keeps, and one token drawn by the model."""
    target = logits.double().softmax(dim=-1)
    for at, token in enumerate(guessed):
        wanted, offered = target[at], laws[at].to(target.device)
        if float(keeps[at] * offered[token]) < float(wanted[token]):
            continue
        rest = (wanted - offered).clamp(min=0)
        left = rest if float(rest.sum()) > 0 else wanted
        return [*guessed[:at], _draw(left.log(), picks[at])]
    return [*guessed, _draw(logits[len(guessed)], picks[len(guessed)])]


def _draw(logits: Tensor, chance: Tensor) -> int:
    return int(pick_by_chance(logits[None], chance[None]))
