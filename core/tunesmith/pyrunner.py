"""Run short functions that a model wrote, and compare what they return with what was expected.

This is an allow-list interpreter for short functions over numbers, text, lists and dicts. It is
*not* a sandbox for arbitrary programs: imports, classes, exceptions, attributes (but for a few
methods of str, list, dict and set), names that begin with an underscore and everything else outside
the list are refused, and a refused program is a wrong answer. What remains runs in one long-lived
child process (bare interpreter, empty environment) with limits on memory, CPU seconds, files and
processes, a step budget that makes verdicts independent of speed, and a wall-clock limit after
which the child is killed and replaced. Only data crosses the pipe, and the verdict is computed
here, never in the child.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Self

from tunesmith import pyworker
from tunesmith.errors import DataError, TunesmithError
from tunesmith.pyrules import TOO_MUCH

WALL_SECONDS = 10.0
LONGEST_PROGRAM = 10_000
BATCH = 32
LONGEST_REPLY = 4 * 2**20
_WORKER = Path(pyworker.__file__)

Test = Sequence[Any]
"""``[arguments, expected]``, both plain data."""
Program = tuple[str, str, Sequence[Test]]
"""``(code, entry point, tests)``."""
Outcomes = list[list[Any]] | str
"""What came of every test, or in words why nothing did."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one program did; ``passed`` needs every test, and there is always at least one."""

    passed: bool
    reason: str
    passed_tests: int
    tests: int


class Runner:
    """One worker process, replaced whenever a program takes it down; safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, if this process started it."""
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        child.communicate()

    def check(self, program: Program) -> Result:
        """Run one program on its tests; raise DataError when the tests are not usable."""
        return self.check_all([program])[0]

    def check_all(self, programs: Sequence[Program]) -> list[Result]:
        """Run programs one after another; one result each, in order."""
        calls = [_calls(entry, tests) for _, entry, tests in programs]
        orders = [
            {"code": code if len(code) <= LONGEST_PROGRAM else "", "entry": entry, "calls": called}
            for (code, entry, _), called in zip(programs, calls, strict=True)
        ]
        with self._lock:
            outcomes = self._ask(orders)
        return [_verdict(o, p[2]) for o, p in zip(outcomes, programs, strict=True)]

    def _ask(self, orders: list[dict[str, Any]]) -> list[Outcomes]:
        """Return the outcomes of every program, or in words why it has none.

        A worker that dies may have been killed by somebody else, so the program gets a second one.
        """
        found: list[Outcomes] = []
        died_at = -1
        while len(found) < len(orders):
            try:
                for reply in self._replies(orders[len(found) : len(found) + BATCH]):
                    found.append(reply)
            except TimeoutError:
                self.close()
                found.append(TOO_MUCH)
            except (EOFError, BrokenPipeError):
                self.close()
                if died_at == len(found):
                    found.append(TOO_MUCH)
                else:
                    died_at = len(found)
        return found

    def _replies(self, orders: list[dict[str, Any]]) -> Iterator[Outcomes]:
        """Send a batch and yield what comes back for each program as it comes."""
        child, nonce = self._ready(), secrets.token_hex(8)
        if child.stdin is None or child.stdout is None:
            raise EOFError("the worker has no pipes")
        child.stdin.write(json.dumps({"nonce": nonce, "programs": orders}).encode() + b"\n")
        child.stdin.flush()
        rest = b""
        for _ in orders:
            line, rest = _line(child.stdout, rest)
            answer = json.loads(line)
            if answer["nonce"] != nonce:
                raise EOFError("the reply is not to this order")
            yield answer["results"]

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork the pipes belong to the parent
            self._child, self._owner = None, os.getpid()
        if self._child is None or self._child.poll() is not None:
            self._child = _start()
        return self._child


def _start() -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONHASHSEED": "0"},  # the order of a set must not change a verdict
            start_new_session=True,  # Ctrl-C is for the parent, which may still want a verdict
        )
    except OSError as error:
        raise TunesmithError(f"Cannot start the worker that runs programs: {error}.") from error


def _line(pipe: IO[bytes], read: bytes) -> tuple[bytes, bytes]:
    """Return the next line within the wall-clock limit, and what was read beyond it."""
    deadline = time.monotonic() + WALL_SECONDS
    while b"\n" not in read:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError(TOO_MUCH)
        chunk = os.read(pipe.fileno(), 1 << 16)
        if not chunk:
            raise EOFError("the worker is gone")
        read += chunk
        if len(read) > LONGEST_REPLY:
            raise EOFError("the worker says too much")
    line, _, rest = read.partition(b"\n")
    return line, rest


def _calls(entry: str, tests: Sequence[Test]) -> list[str]:
    """Return every test's arguments as JSON; raise DataError for tests that test nothing."""
    if not entry.isidentifier() or not tests:
        raise DataError(
            f"A program needs an entry point and tests; got {entry!r}, {len(tests)} tests."
        )
    for test in tests:
        if not (
            isinstance(test, list | tuple) and len(test) == 2 and isinstance(test[0], list | tuple)
        ):
            raise DataError(f"A test must be [arguments, expected]; got {str(test)[:80]}.")
    try:
        return [json.dumps(arguments, allow_nan=False) for arguments, _ in tests]
    except (TypeError, ValueError) as error:
        raise DataError(f"The arguments of {entry} are not plain data: {error}.") from error


def _verdict(outcomes: Outcomes, tests: Sequence[Test]) -> Result:
    if isinstance(outcomes, str):
        return Result(False, outcomes, 0, len(tests))
    if len(outcomes) != len(tests):  # nothing ran: the one outcome says why
        return Result(False, str(outcomes[0][1]), 0, len(tests))
    good, reason = 0, ""
    for (kind, value), (arguments, expected) in zip(outcomes, tests, strict=True):
        if kind == "ok" and same(value, expected):
            good += 1
        elif not reason:
            shown = ", ".join(map(repr, arguments))
            reason = (
                f"({shown}) gives {value!r:.80}, not {expected!r:.80}"
                if kind == "ok"
                else str(value)
            )
    return Result(good == len(tests), reason or "all tests pass", good, len(tests))


def same(value: Any, expected: Any) -> bool:
    """Compare data: True is not 1, a tuple counts as a list, 2.0 equals 2, NaN equals nothing."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return type(value) is type(expected) and value == expected
    if isinstance(expected, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(expected)
            and all(same(v, e) for v, e in zip(value, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[key], expected[key]) for key in expected)
        )
    return bool(value == expected)


@lru_cache(maxsize=1)
def _shared() -> Runner:
    runner = Runner()
    atexit.register(runner.close)
    return runner


def check_many(programs: Sequence[Program]) -> list[Result]:
    """Run programs one after another in the shared worker; one result each, in order."""
    return _shared().check_all(programs)
