"""A model that is open, and one request put to it: style, sampler, tokens, text."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from tunesmith import plugins
from tunesmith.chat import encode_prompt, stop_ids
from tunesmith.errors import ModelError
from tunesmith.generation.asking import sample_seed
from tunesmith.generation.reference import Decode, decoder
from tunesmith.generation.token_bytes import TokenBytes
from tunesmith.model_facts import inspect_model
from tunesmith.models import load_tokenizer
from tunesmith.records import Completion, Generation, Message, Token
from tunesmith.serving.named_models import Target
from tunesmith.serving.speech import Piece, Speech
from tunesmith.techniques import Engine, OpenEngine, Sampler, StreamingEngine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNLIMITED = 1024
"""Most tokens of an answer where neither request nor model sets a limit."""


_IMPORTING = Lock()
"""transformers imports its parts when they are first named, and not safely in two threads."""
_LOADING: defaultdict[str, Lock] = defaultdict(Lock)
"""Models of one engine are loaded one after the other: torch has one default precision."""


class TooLong(ModelError):
    """Raised when prompt and answer do not fit into the model's context."""


class NoLogprobs(ModelError):
    """Raised when probabilities are asked of what gives whole answers only."""


@dataclass(slots=True)
class Speaker:
    """An open engine with the model's tokenizer, as training and evaluation use it."""

    target: Target
    engine: OpenEngine
    tokenizer: PreTrainedTokenizerBase
    stop_ids: tuple[int, ...]
    context: int | None
    decode: Decode
    spelt: TokenBytes

    def room(self, prompt: Sequence[int], wanted: int | None) -> int:
        """Return how many tokens an answer may have; raise TooLong when it does not fit."""
        if self.context is None:
            return wanted or UNLIMITED
        left = self.context - len(prompt)
        if left < (wanted or 1):
            raise TooLong(
                f"{self.target.id} holds {self.context} tokens; the prompt has {len(prompt)} and"
                f" the answer may have {wanted or 1}. Shorten the prompt, or lower max_tokens to"
                f" {max(left, 0)}."
            )
        return wanted or left

    def check_expressible(self, sampler: Sampler) -> None:
        """Raise ModelError when this engine cannot draw as the sampler says."""
        from tunesmith.generation.answers import check_expressible

        check_expressible(plugins.build(Engine, self.target.engine), sampler)


@contextmanager
def opened(target: Target) -> Iterator[Speaker]:
    """Open the engine of a target; leaving closes it. Raises ModelError."""
    engine = plugins.build(Engine, target.engine)
    with ExitStack() as stack:
        with _LOADING[engine.name]:
            with _IMPORTING:
                tokenizer = load_tokenizer(target.folder)
            running = stack.enter_context(engine.open(target.folder))
        yield Speaker(
            target,
            running,
            tokenizer,
            stop_ids(tokenizer, target.folder),
            _context(target, running),
            decoder(tokenizer),
            TokenBytes(tokenizer),
        )


def _context(target: Target, running: OpenEngine) -> int | None:
    """Return the model's limit, or the engine's where that is lower."""
    limits = [inspect_model(target.folder).context, getattr(running, "context", None)]
    return min((int(limit) for limit in limits if limit), default=None)


@dataclass(slots=True)
class Voice:
    """What one choice of an answer says; implements `Ask` for a style that has a single row."""

    speaker: Speaker
    sampler: Sampler
    longest: int | None
    seed: int
    top: int | None
    stops: Sequence[str]
    hear: Callable[[Piece], None] | None = None
    """Gets the pieces as they come; None where only whole answers are of use."""
    calls: int = 0
    read: int = 0
    """Tokens of all prompts."""
    written: int = 0
    """Tokens of all answers."""
    drew: Sampler | None = None
    """The sampler of the last call, which may be the style's own."""
    finish: str = "stop"

    def __call__(
        self,
        conversations: Sequence[list[Message]],
        sampler: Sampler | None = None,
        n: int = 1,
        max_new_tokens: int | None = None,
    ) -> list[list[Completion]]:
        """Return ``n`` completions per conversation; see `Ask`."""
        self.calls += 1
        tokenizer = self.speaker.tokenizer
        return [
            [
                self.say(encode_prompt(tokenizer, one), self._seed(k), sampler, max_new_tokens, one)
                for k in range(n)
            ]
            for one in conversations
        ]

    def _seed(self, number: int) -> int:
        if self.calls == 1 and number == 0:
            return self.seed
        return sample_seed(self.seed, "", self.calls, number)

    def say(
        self,
        prompt: list[int],
        seed: int,
        sampler: Sampler | None = None,
        longest: int | None = None,
        conversation: list[Message] | None = None,
    ) -> Completion:
        """Continue a prompt, and hand over the pieces where somebody listens."""
        self.drew = sampler or self.sampler
        self.speaker.check_expressible(self.drew)
        room = self.speaker.room(prompt, longest or self.longest)
        said = [conversation] if conversation is not None else []
        how = Generation(self.drew, room, [seed], self.speaker.stop_ids, conversations=said)
        speech = Speech(self.speaker.decode, self.speaker.stop_ids, self.stops)
        self.read += len(prompt)
        tokens = self._tokens(prompt, how)
        for token in tokens:
            self._tell(speech.add(token))
            if speech.finish:
                break
        close = getattr(tokens, "close", None)
        if close is not None:
            close()
        if speech.finish is None:
            self._tell(speech.end("length"))
        self.written += len(speech.ids)
        self.finish = str(speech.finish)
        return Completion(speech.ids, speech.said, self.finish)

    def _tell(self, piece: Piece | None) -> None:
        if piece is not None and self.hear is not None:
            self.hear(piece)

    def _tokens(self, prompt: list[int], how: Generation) -> Iterator[Token]:
        engine = self.speaker.engine
        if isinstance(engine, StreamingEngine) and not how.sampler.searches:
            return engine.stream(prompt, how, self.top)
        if self.top is not None:
            raise NoLogprobs(
                f"The engine {self.speaker.target.engine['name']!r} with the sampler"
                f" {how.sampler.name!r} gives whole answers without probabilities; leave logprobs"
                " out."
            )
        return iter([Token(token) for token in engine.generate([prompt], how)[0].ids])


def any_seed() -> int:
    """Return a seed for a request that names none."""
    return secrets.randbits(31)


def facts_of(voice: Voice, **more: Any) -> dict[str, Any]:
    """Return what Tunesmith tells beside OpenAI's answer."""
    from tunesmith.nesting import spec_of

    drew = spec_of(voice.drew) if voice.drew else None
    return {"sampler": drew, "calls": voice.calls, "seed": voice.seed, **more}
