"""The work of one request, done in its model's thread: every choice, piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunesmith import plugins
from tunesmith.chat import encode_prompt, prompt_text
from tunesmith.config import named
from tunesmith.errors import ConfigError
from tunesmith.generation.answers import row_seed
from tunesmith.promises import listed
from tunesmith.prompts import Conversation, label
from tunesmith.records import Message, Row
from tunesmith.saved_prompts import settled_style
from tunesmith.serving.requests import Chat, Text
from tunesmith.serving.shapes import Usage, chat_logprobs, text_logprobs
from tunesmith.serving.speaking import Speaker, Voice, any_seed, facts_of
from tunesmith.serving.speech import Piece
from tunesmith.techniques import PromptStyle, Task

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of one choice, as it is said."""

    index: int
    text: str
    logprobs: Json | None


@dataclass(frozen=True, slots=True)
class Ended:
    """One choice is complete."""

    index: int
    finish: str
    told: Json = field(default_factory=dict)


def chat(asked: Chat) -> Callable[[Speaker, Callable[[Any], None]], None]:
    """Return the work of a chat request: it sends Part, Ended and, at last, the Usage."""
    style, task = style_of(asked), task_of(asked)
    sampler = asked.drawn()

    def work(speaker: Speaker, send: Callable[[Any], None]) -> None:
        usage, seed = Usage(), any_seed() if asked.seed is None else asked.seed % 2**63
        for index in range(asked.n):
            own = seed if index == 0 else row_seed(seed, index)
            voice = Voice(speaker, sampler, asked.longest, own, asked.top, asked.stop)
            told = _speak(voice, asked, style, task, _sender(voice, index, send, chat=True))
            usage.add(voice.read, voice.written)
            send(Ended(index, voice.finish, facts_of(voice, **told)))
        send(usage)

    return work


def _speak(
    voice: Voice, asked: Chat, style: PromptStyle | None, task: Task, hear: Callable[[Piece], None]
) -> Json:
    """Let the model answer; return what is worth telling besides."""
    messages = [turn.message() for turn in asked.messages]
    if style is None:
        voice.hear = hear
        voice([messages])
        return {}
    # Of a style that asks several times, nobody knows which call is the answer until the end.
    voice.hear = hear if style.asks_once else None
    row, shots = row_of(asked, task)
    reply = style.answers(task, [row], shots, voice)[0]
    if not style.asks_once:
        voice.finish = reply.finish
        hear(Piece(reply.text))
    return {"style": label(style), "details": reply.details}


def _sender(
    voice: Voice, index: int, send: Callable[[Any], None], *, chat: bool
) -> Callable[[Piece], None]:
    spelt, told = voice.speaker.spelt, [0]

    def hear(piece: Piece) -> None:
        logprobs = None
        if voice.top is not None and piece.tokens:
            logprobs = (
                chat_logprobs(piece.tokens, spelt)
                if chat
                else text_logprobs(piece.tokens, spelt, told[0])
            )
        told[0] += len(piece.text)
        send(Part(index, piece.text, logprobs))

    return hear


def text(asked: Text) -> Callable[[Speaker, Callable[[Any], None]], None]:
    """Return the work of a text completion; prompts may be texts or token ids."""
    sampler, prompts = asked.drawn(), asked.prompts()
    if not prompts:
        raise ConfigError("prompt: give at least one.")

    def work(speaker: Speaker, send: Callable[[Any], None]) -> None:
        usage, seed = Usage(), any_seed() if asked.seed is None else asked.seed % 2**63
        many = [prompt for prompt in prompts for _ in range(asked.n)]
        for index, prompt in enumerate(many):
            own = seed if index == 0 else row_seed(seed, index)
            voice = Voice(speaker, sampler, asked.longest, own, asked.top, asked.stop)
            voice.hear = _sender(voice, index, send, chat=False)
            ids = encode_prompt(speaker.tokenizer, prompt) if isinstance(prompt, str) else prompt
            voice.say(ids, own)
            usage.add(voice.read, voice.written)
            send(Ended(index, voice.finish, facts_of(voice)))
        send(usage)

    return work


def seen(asked: Chat) -> Callable[[Speaker, Callable[[Any], None]], None]:
    """Return the work of showing what a model would be asked first, without asking it."""
    style, task = style_of(asked), task_of(asked)

    def work(speaker: Speaker, send: Callable[[Any], None]) -> None:
        messages: list[Message] = [turn.message() for turn in asked.messages]
        if style is not None:
            row, shots = row_of(asked, task)
            messages = listed(style, "messages", style.messages(task, row, shots), dict)
        ids = encode_prompt(speaker.tokenizer, messages)
        pieces = [speaker.spelt.of(one).decode(errors="replace") for one in ids]
        written = prompt_text(speaker.tokenizer, messages)
        send({"messages": messages, "text": written, "ids": ids, "pieces": pieces})

    return work


def style_of(asked: Chat) -> PromptStyle | None:
    """Return the style that a request names; ConfigError for one that cannot work."""
    if asked.style is None:
        return None
    from tunesmith import store as stores
    from tunesmith.store.saved_prompts import NoSuchPrompt

    try:
        spec = settled_style(named(asked.style), stores.open)
    except NoSuchPrompt as error:
        raise ConfigError(str(error)) from error
    style = plugins.build(PromptStyle, spec)
    if problems := [*style.problems(), *style.problems_with_task(task_of(asked))]:
        raise ConfigError(" ".join(problems))
    return style


def task_of(asked: Chat) -> Task:
    """Return the task that a style is told of."""
    return Conversation() if asked.task is None else plugins.build(Task, asked.task)


def row_of(asked: Chat, task: Task) -> tuple[Row, list[Row]]:
    """Return the conversation as a row that styles read, and the solved ones it may show."""
    row = {"id": "served", "task": task.name, "prompt": [t.message() for t in asked.messages]}
    return row, [shot.row(number, task.name) for number, shot in enumerate(asked.shots)]
