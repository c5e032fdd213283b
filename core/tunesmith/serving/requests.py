"""What a request may ask. What would change an answer and is not supported is refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tunesmith.records import Message, Row, Spec
from tunesmith.serving.sampling import sampler_of
from tunesmith.techniques import Sampler

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
    "user": (),
    "metadata": (),
    "store": (),
    "parallel_tool_calls": (),
    "service_tier": (),
}
"""Parameters of OpenAI's that are accepted at these values; at any where none is listed, because
they do not change an answer."""


class StreamOptions(BaseModel):
    """How a stream ends."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class Asking(BaseModel):
    """What both kinds of request have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=16)] = 1
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: list[Annotated[str, Field(min_length=1)]] = []
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    sampler: Spec | str | None = None
    """Not OpenAI's: any sampler by its name and options, in place of the four parameters above."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError("the body must be a JSON object")
        kept = {key: value for key, value in given.items() if value is not None}
        for name, neutral in _NEUTRAL.items():
            if name in kept and neutral and kept[name] not in neutral:
                raise ValueError(f"{name} is not supported; leave it out")
            if name not in cls.model_fields:
                kept.pop(name, None)
        return kept

    @field_validator("stop", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_way(self) -> Asking:
        if self.sampler is not None and self.model_fields_set & set(_PARAMETERS):
            raise ValueError(f"give either sampler or {', '.join(_PARAMETERS)}, not both")
        return self

    def drawn(self) -> Sampler:
        """Return the sampler that the request describes; ConfigError for a wrong one."""
        if self.sampler is None:
            top_k = max(self.top_k or 0, 0)
            return sampler_of(self.temperature, self.top_p, top_k, self.min_p)
        from tunesmith import plugins

        return plugins.build(Sampler, self.sampler)


_PARAMETERS = ("temperature", "top_p", "top_k", "min_p")


class Part(BaseModel):
    """A part of a message; only text can be read."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class Turn(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    def message(self) -> Message:
        """Return the turn as the chat template takes it."""
        parts = self.content if isinstance(self.content, list) else []
        text = self.content if isinstance(self.content, str) else "".join(p.text for p in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class Shot(BaseModel):
    """A solved question that a style may show."""

    model_config = ConfigDict(extra="forbid")
    question: Annotated[str, Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]

    def row(self, number: int, task: str) -> Row:
        """Return it as the row that styles read."""
        return {
            "id": f"shot-{number}",
            "task": task,
            "prompt": [{"role": "user", "content": self.question}],
            "completion": [{"role": "assistant", "content": self.answer}],
        }


class Chat(Asking):
    """The body of ``/v1/chat/completions``."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    style: Spec | str | None = None
    """Not OpenAI's: a prompt style that puts the last user turn to the model."""
    task: Spec | str | None = None
    """Not OpenAI's: the task that the style is told of; without it a plain conversation."""
    shots: list[Shot] = []
    """Not OpenAI's: solved questions that the style may show."""

    @model_validator(mode="after")
    def _whole(self) -> Chat:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.style is not None and self.messages[-1].role != "user":
            raise ValueError("a style puts the last turn, which must be a user's")
        return self

    @property
    def longest(self) -> int | None:
        """Most tokens of an answer; None: as many as the context holds."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self) -> int | None:
        """How many alternatives are wanted; None for no probabilities at all."""
        return self.top_logprobs if self.logprobs else None


class Text(Asking):
    """The body of ``/v1/completions``."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def longest(self) -> int | None:
        """Most tokens of an answer."""
        return self.max_tokens

    @property
    def top(self) -> int | None:
        """How many alternatives are wanted; None for no probabilities at all."""
        return self.logprobs

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts, each a text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        single = [one for one in self.prompt if isinstance(one, int)]
        return [single] if single else [one for one in self.prompt if not isinstance(one, int)]
