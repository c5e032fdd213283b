"""Start llama.cpp in a process of its own, talk to it, and leave nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from tunesmith import ModelError

if TYPE_CHECKING:
    import httpx

_PATIENCE = 10.0
"""Seconds the process gets to end by itself."""


@dataclass(slots=True)
class Connection:
    """A running server that only this process has the key to."""

    client: httpx.Client
    process: subprocess.Popen[str]
    log: IO[str]

    def complete(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Post to ``/completion``; one answer per prompt, in order. Raises ModelError."""
        import httpx

        try:
            answer = self.client.post("/completion", json=request).json()
        except (httpx.HTTPError, ValueError) as error:
            raise ModelError(f"llama.cpp stopped answering: {self._why(error)}") from error
        if isinstance(answer, dict) and "error" in answer:
            raise ModelError(f"llama.cpp refused a request: {answer['error']['message']}")
        answers = answer if isinstance(answer, list) else [answer]
        return sorted(answers, key=lambda one: one["index"])

    def events(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Post to ``/completion`` and yield what it streams; leaving early ends the request.

        Raises ModelError.
        """
        import httpx

        try:
            with self.client.stream("POST", "/completion", json=request) as answer:
                for line in answer.iter_lines():
                    name, _, text = line.partition(": ")
                    told = json.loads(text) if name in ("data", "error") else {}
                    if name == "error" or "error" in told:
                        refusal = told.get("error", told)
                        raise ModelError(f"llama.cpp refused a request: {refusal['message']}")
                    if told:
                        yield told
                    elif line.startswith("{"):  # an error that came instead of a stream
                        raise ModelError(f"llama.cpp refused a request: {line}")
        except (httpx.HTTPError, ValueError) as error:
            raise ModelError(f"llama.cpp stopped answering: {self._why(error)}") from error

    def _why(self, error: Exception) -> str:
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return f"{type(error).__name__}: {error}"
        return f"its process ended with {code}. {_complaints(self.log)}"


@contextmanager
def running(settings: dict[str, Any]) -> Iterator[Connection]:
    """Yield a connection to a llama.cpp server; it is gone when the context is left.

    It also ends by itself when this process dies, however it dies. Raises ModelError when the
    model cannot be loaded.
    """
    import httpx

    key = secrets.token_urlsafe(32)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tunesmith_plugins.engines.llamacpp_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_environment(settings),
        )
        try:
            address = _start(process, {**settings, "key": key}, log)
            with httpx.Client(
                base_url=address,
                headers={"Authorization": f"Bearer {key}"},
                timeout=None,  # a batch may take as long as it takes; a dead process ends the wait
                trust_env=False,
            ) as client:
                yield Connection(client, process, log)
        finally:
            _stop(process)


def _environment(settings: dict[str, Any]) -> dict[str, str]:
    """Return the process's environment: its threads wait as the settings say, unless ours says."""
    spin = {"GOMP_SPINCOUNT": str(settings["spin"])} if "spin" in settings else {}
    return spin | dict(os.environ)


def _start(process: subprocess.Popen[str], settings: dict[str, Any], log: IO[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
    except BrokenPipeError as error:
        raise ModelError(f"llama.cpp did not start. {_complaints(log)}") from error
    line = process.stdout.readline()
    facts = json.loads(line) if line else {}
    if "address" not in facts:
        raise ModelError(f"llama.cpp cannot load {settings['file']}. {_complaints(log)}")
    return str(facts["address"])


def _complaints(log: IO[str]) -> str:
    """Return what llama.cpp complained of first; a log line is ``time level text``."""
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    errors = [line.split(" E ", 1)[1] for line in lines if " E " in line] or lines
    return "It said: " + " / ".join(errors[:3]) if errors else "It said nothing."


def _stop(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        try:
            process.stdin.close()
        except BrokenPipeError:
            process.kill()
    try:
        process.wait(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
