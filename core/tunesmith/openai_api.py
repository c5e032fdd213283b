"""A client of OpenAI-compatible servers: completions by token ids, chat, log-probabilities.

It waits as long as a busy server asks it to, asks again where that can help, and never more at
once than it is allowed to. The key comes from an environment variable; it is in no error message.
Protocol: https://platform.openai.com/docs/api-reference, as vLLM and llama.cpp serve it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.endpoints import Endpoint, read_key
from tunesmith.errors import EndpointError, did_you_mean
from tunesmith.records import Message
from tunesmith.retrying import LONGEST_PAUSE, backoff, is_passing, retry_after

if TYPE_CHECKING:
    import httpx

_EXCERPT = 300
"""Characters of a server's answer that an error shows."""


class NoSuchModelError(EndpointError):
    """Raised when a server has no model of the name that is asked for."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of a chat: its text and, where the server tells, how likely its tokens were."""

    text: str
    finish: str
    written: list[str]
    """The text of each token; empty where the server gives no log-probabilities."""
    likely: list[dict[str, float]]
    """Per token the log-probabilities (nats) of the likeliest ones there, by their text."""


@dataclass(slots=True)
class Client:
    """A connection to one server; ``sleep`` waits between two tries."""

    endpoint: Endpoint
    http: httpx.Client
    key: str | None = field(repr=False)
    sleep: Callable[[float], None] = time.sleep

    def models(self) -> list[dict[str, Any]]:
        """Return the cards of the models that the server has; each has an ``id``."""
        told = self._ask("GET", "models", None).get("data")
        if not isinstance(told, list):
            raise self._odd("GET", "models", "no list of models under `data`")
        return [dict(card) for card in told]

    def require_model(self, wanted: str) -> dict[str, Any]:
        """Return the model's card; raise NoSuchModelError naming the models there are."""
        cards = {str(card.get("id")): card for card in self.models()}
        if wanted not in cards:
            raise NoSuchModelError(
                f"{self.endpoint.base_url} serves no model {wanted!r}."
                f"{did_you_mean(wanted, cards)} It serves: {', '.join(cards) or 'none'}."
            )
        return cards[wanted]

    def complete(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Post to ``/completions``; every request's answer with its ``n`` ``choices``, in order.

        A ``prompt`` may be a list of token ids. Raises EndpointError.
        """
        return self._answers("completions", requests)

    def chat(self, requests: Sequence[Mapping[str, Any]]) -> list[list[Said]]:
        """Post to ``/chat/completions``; the ``n`` answers to every request, both in order.

        Raises EndpointError.
        """
        return [
            [self._said(choice) for choice in answer["choices"]]
            for answer in self._answers("chat/completions", requests)
        ]

    def _answers(self, path: str, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        def one(request: Mapping[str, Any]) -> dict[str, Any]:
            answer = self._ask("POST", path, {**request, "stream": False})
            told, wanted = answer.get("choices"), int(request.get("n") or 1)
            if not isinstance(told, list) or len(told) != wanted:
                raise self._odd("POST", path, f"no {wanted} `choices`")
            return answer | {"choices": sorted(told, key=lambda one: int(one.get("index", 0)))}

        with ThreadPoolExecutor(self.endpoint.concurrency) as pool:
            pending = [pool.submit(one, request) for request in requests]
            try:
                return [each.result() for each in pending]
            finally:
                # After a failure nothing more is asked; answers that are there cost nothing.
                pool.shutdown(wait=True, cancel_futures=True)

    def _said(self, choice: Mapping[str, Any]) -> Said:
        message = choice.get("message")
        if not isinstance(message, dict):
            raise self._odd("POST", "chat/completions", "a choice without a `message`")
        places = (choice.get("logprobs") or {}).get("content") or []
        return Said(
            text=str(message.get("content") or ""),
            finish=str(choice.get("finish_reason")),
            written=[str(place["token"]) for place in places],
            likely=[_likely(place) for place in places],
        )

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Ask until there is an answer, the tries are used up, or asking again is of no use."""
        import httpx

        tries = self.endpoint.retries + 1
        fault = ""
        for attempt in range(tries):
            pause = backoff(attempt)
            try:
                answer = self.http.request(method, path, json=body)
            except httpx.TransportError as error:
                fault = self._silence(method, path, error)
            else:
                if answer.is_success:
                    return self._read(method, path, answer)
                fault = self._refusal(method, path, answer)
                if not is_passing(answer.status_code):
                    raise EndpointError(fault)
                asked = retry_after(answer.headers.get("Retry-After"))
                pause = pause if asked is None else asked
            if pause > LONGEST_PAUSE:
                raise EndpointError(
                    f"{fault} It asks to wait {pause:.0f} s, longer than the {LONGEST_PAUSE:.0f} s"
                    " that a request may; run again later."
                )
            if attempt + 1 < tries:
                self.sleep(pause)
        raise EndpointError(fault if tries == 1 else f"{fault} It was asked {tries} times.")

    def _read(self, method: str, path: str, answer: httpx.Response) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise self._odd(method, path, f"no JSON object but {self._excerpt(answer)!r}")
        return told

    def _place(self, method: str, path: str) -> str:
        return f"{method} {self.endpoint.base_url}/{path}"

    def _odd(self, method: str, path: str, what: str) -> EndpointError:
        return EndpointError(
            f"{self._place(method, path)} answered {what}."
            " Is `base_url` an OpenAI-compatible server? It usually ends in /v1."
        )

    def _silence(self, method: str, path: str, error: Exception) -> str:
        import httpx

        place = self._place(method, path)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return f"{place}: nobody answers there ({error}). Start the server, or set `base_url`."
        if isinstance(error, httpx.TimeoutException):
            return (
                f"{place} did not answer within {self.endpoint.timeout:g} s."
                " Raise `timeout`, or lower `concurrency`."
            )
        return f"{place} dropped the connection ({type(error).__name__}). Look into its log."

    def _refusal(self, method: str, path: str, answer: httpx.Response) -> str:
        said = f"{self._place(method, path)} answered {answer.status_code}"
        return f"{said}: {self._excerpt(answer)} {self._advice(answer.status_code)}"

    def _advice(self, status: int) -> str:
        if status in (401, 403):
            name = self.endpoint.api_key_env
            if name is None:
                return "It wants a key: name the environment variable that holds it, `api_key_env`."
            return f"It does not accept the key in ${name}."
        if status == 404:
            return "Check the model's name, and `base_url`, which usually ends in /v1."
        if status == 429:
            return "Lower `concurrency`, or ask for a higher limit there."
        if status >= 500:
            return "The fault is the server's; look into its log."
        return "It does not take such a request; is it the kind of server that is meant?"

    def _excerpt(self, answer: httpx.Response) -> str:
        """Return what the server said in one line, without the key should it repeat it."""
        text = " ".join(_message(answer).split())
        text = text.replace(self.key, "***") if self.key else text
        text = text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
        return text if text.endswith((".", "!", "?", "...")) else f"{text or 'nothing'}."


@contextmanager
def connected(endpoint: Endpoint, patience: float | None = None) -> Iterator[Client]:
    """Yield a client; ``patience`` (seconds) overrules the endpoint's timeout.

    Raises EndpointError when the variable that should hold the key does not.
    """
    import httpx

    key = read_key(endpoint.api_key_env)
    with httpx.Client(
        base_url=endpoint.base_url,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=patience or endpoint.timeout,
        limits=httpx.Limits(max_connections=endpoint.concurrency),
        # A proxy cannot reach this machine's own loopback address.
        trust_env=not endpoint.is_local(),
    ) as http:
        yield Client(endpoint, http, key)


def question(messages: Sequence[Message], model: str, **options: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": model, "messages": list(messages), **options}


def _likely(place: Mapping[str, Any]) -> dict[str, float]:
    """Return the likeliest tokens at a place, the written one among them."""
    found = {str(place["token"]): float(place["logprob"])}
    for one in place.get("top_logprobs") or []:
        found[str(one["token"])] = float(one["logprob"])
    return found


def _message(answer: httpx.Response) -> str:
    """Return what a refusal says: OpenAI's ``error.message``, FastAPI's ``detail``, or its text."""
    try:
        told = answer.json()
    except ValueError:
        return answer.text
    if isinstance(told, dict):
        error = told.get("error", told.get("detail", told.get("message")))
        if isinstance(error, dict):
            error = error.get("message")
        if error is not None:
            return str(error)
    return answer.text
