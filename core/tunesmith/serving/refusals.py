"""Which HTTP status and which of OpenAI's error codes belong to an error of ours."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from tunesmith.errors import (
    ConfigError,
    DataError,
    ModelError,
    PluginError,
    TunesmithError,
    did_you_mean,
)
from tunesmith.serving import shapes
from tunesmith.serving.speaking import NoLogprobs, TooLong

INVALID = "invalid_request_error"


@dataclass(slots=True)
class Refusal(Exception):
    """A request that is answered with an error."""

    status: int
    message: str
    kind: str = INVALID
    code: str | None = None
    param: str | None = None

    def body(self) -> shapes.Json:
        """Return the answer's JSON."""
        return shapes.error(self.message, self.kind, self.code, self.param)


def refusal_of(error: Exception) -> Refusal:
    """Return how an exception is answered; what nobody foresaw is told without its details."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TooLong):
        return Refusal(400, str(error), code="context_length_exceeded", param="messages")
    if isinstance(error, NoLogprobs):
        return Refusal(400, str(error), code="logprobs_unsupported", param="logprobs")
    if isinstance(error, ConfigError | PluginError | DataError | ModelError):
        return Refusal(400, str(error))
    if isinstance(error, TunesmithError):
        return Refusal(503, str(error), "service_unavailable")
    return Refusal(
        500, f"{type(error).__name__}; the server's log says more.", "server_error", "internal"
    )


def invalid(error: ValidationError) -> Refusal:
    """Return the refusal of a body that is not what it should be: its first problem."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "this parameter is not supported; leave it out"
    said = f"{place}: {message}" if place else message
    return Refusal(400, f"{said}.", param=place or None, code=_code(str(problem["type"])))


def _code(kind: str) -> str:
    known = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}
    return known.get(kind, "invalid_value")


def no_model(wanted: str, known: list[str]) -> Refusal:
    """Return the refusal of a model that is not served."""
    return Refusal(
        404,
        f"The model {wanted!r} is not served here.{did_you_mean(wanted, known)}"
        f" Served: {', '.join(known)}.",
        code="model_not_found",
        param="model",
    )
