"""Ask a server the same question in several ways at once, and read the answers as they come."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

DEFAULT = "http://127.0.0.1:8901"
"""Where `tunesmith serve` listens unless it is told otherwise."""
_NO_LOGPROBS = "logprobs_unsupported"
_PATIENCE = httpx.Timeout(5.0, read=None)
"""An answer may take as long as it takes; a server that is not there is soon known."""


def address() -> str:
    """Return where the server is: ``TUNESMITH_SERVE_URL``, else the default."""
    return os.environ.get("TUNESMITH_SERVE_URL") or DEFAULT


@dataclass(frozen=True, slots=True)
class Way:
    """One column: which model is asked, how the question is put, and how tokens are drawn."""

    model: str
    style: Mapping[str, Any]
    sampler: Mapping[str, Any]
    title: str

    @property
    def key(self) -> str:
        """What tells it apart from other columns, and stays over the rounds of a conversation."""
        return json.dumps([self.model, self.style, self.sampler], sort_keys=True)


@dataclass(slots=True)
class Piece:
    """A text and the tokens it was made of: (token, logprob, alternatives)."""

    text: str
    tokens: list[tuple[str, float, list[tuple[str, float]]]] = field(default_factory=list)


@dataclass(slots=True)
class Said:
    """What one column says so far; written by its thread, read by the page."""

    pieces: list[Piece] = field(default_factory=list)
    finish: str | None = None
    error: str | None = None
    told: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    without_probabilities: bool = False

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(slots=True)
class Round:
    """One question of a conversation, and what each column said to it."""

    question: str
    ways: list[Way]
    said: dict[str, Said] = field(default_factory=dict)


def history(rounds: Sequence[Round], way: Way) -> list[dict[str, str]]:
    """Return the turns of a column so far: the rounds that it answered."""
    turns: list[dict[str, str]] = []
    for one in rounds:
        said = one.said.get(way.key)
        if said is not None and said.text.strip() and not said.error:
            turns.append({"role": "user", "content": one.question})
            turns.append({"role": "assistant", "content": said.text})
    return turns


@dataclass(slots=True)
class Served:
    """A server that answers: its models, and the techniques it knows."""

    address: str
    models: list[dict[str, Any]]
    techniques: dict[str, list[dict[str, Any]]]


def served(at: str) -> Served | str:
    """Return what a server offers, or why it cannot be asked."""
    if urlsplit(at).scheme not in ("http", "https"):
        return f"{at} is no address of a server; it begins with http:// or https://."
    try:
        with httpx.Client(base_url=at, timeout=5.0, trust_env=False) as client:
            models = client.get("/v1/models").raise_for_status().json()["data"]
            techniques = client.get("/tunesmith/v1/techniques").raise_for_status().json()
    except httpx.HTTPStatusError as error:
        return f"{at} answers, but not as `tunesmith serve` does ({error.response.status_code})."
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        return f"No server answers at {at} ({type(error).__name__})."
    return Served(at, models, techniques)


def body(way: Way, messages: Sequence[Mapping[str, str]], limits: Mapping[str, Any]) -> Any:
    """Return what a column asks the server."""
    return {
        "model": way.model,
        "messages": list(messages),
        "style": dict(way.style),
        "sampler": dict(way.sampler),
        "stream": True,
        "logprobs": True,
        "top_logprobs": 5,
        **limits,
    }


@contextmanager
def together(at: str, bodies: Sequence[dict[str, Any]], said: Sequence[Said]) -> Iterator[None]:
    """Ask all bodies at once, each in a thread that fills its ``said``; leaving ends them.

    A page that is drawn again half-way (somebody pressed something) leaves, and the server stops.
    """
    stop = threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(at, one, heard, stop), daemon=True)
        for one, heard in zip(bodies, said, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()


def _ask(at: str, wanted: dict[str, Any], said: Said, stop: threading.Event) -> None:
    try:
        _read(at, wanted, said, stop)
    except (httpx.HTTPError, ValueError) as error:
        said.error = f"The server went silent ({type(error).__name__})."
    finally:
        said.done = True


def _read(at: str, wanted: dict[str, Any], said: Said, stop: threading.Event) -> None:
    with (
        httpx.Client(base_url=at, timeout=_PATIENCE, trust_env=False) as client,
        client.stream("POST", "/v1/chat/completions", json=wanted) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            answer.read()
            error = _error(answer)
        else:
            _hear(answer, said, stop)
            return
    if error.get("code") == _NO_LOGPROBS and wanted.get("logprobs"):
        said.without_probabilities = True
        plain = {k: v for k, v in wanted.items() if k not in ("logprobs", "top_logprobs")}
        _read(at, plain, said, stop)
        return
    said.error = str(error.get("message", f"The server answered with {answer.status_code}."))


def _error(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _hear(answer: httpx.Response, said: Said, stop: threading.Event) -> None:
    for line in answer.iter_lines():
        if stop.is_set():
            return
        text = line.removeprefix("data: ")
        if text and text != "[DONE]":
            _take(json.loads(text), said)


def _take(event: dict[str, Any], said: Said) -> None:
    if "error" in event:
        said.error = str(event["error"].get("message"))
        return
    said.told |= event.get("tunesmith") or {}
    for choice in event["choices"]:
        said.finish = choice.get("finish_reason") or said.finish
        text = choice["delta"].get("content") or ""
        told = (choice.get("logprobs") or {}).get("content") or []
        if text or told:
            said.pieces.append(Piece(text, [_token(one) for one in told]))


def _token(entry: dict[str, Any]) -> tuple[str, float, list[tuple[str, float]]]:
    top = [(one["token"], one["logprob"]) for one in entry["top_logprobs"]]
    return entry["token"], entry["logprob"], top
