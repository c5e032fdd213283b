"""Try contracts in a process of its own, with a time limit for each."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from tunesmith.contracts.results import Report, Result

LOADING, WARMING = 60.0, 300.0
"""Seconds that loading the plugins, and making the tiny model, may take."""
_STARTING = 10.0
"""Seconds that Python itself may need to start, however short the limit is."""
Told = Callable[[Result], None]


class Bench:
    """A target under trial; use it as a context. ``timeout`` overrules every contract's own limit.

    ``options`` are given to techniques by name, over their defaults and examples. Raises
    PluginError when there is no such distribution, plugin or module.
    """

    def __init__(
        self,
        target: str,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
    ) -> None:
        from tunesmith.contracts.finding import entries

        entries(target)
        self.target, self.options, self.timeout = target, dict(options or {}), timeout
        self.offers: list[dict[str, Any]] = []
        self.troubles: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__

    def __enter__(self) -> Bench:
        """Load the target in the other process."""
        told = self._started()
        if told is not None:
            self.offers, self.troubles = told["offers"], told["troubles"]
        return self

    def __exit__(self, *_: object) -> None:
        """End the other process."""
        self._end()
        self._words.close()

    def cases(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield every technique's place and every contract of it."""
        for at, offer in enumerate(self.offers):
            for contract in offer["contracts"]:
                yield at, contract

    def try_one(self, at: int, contract: Mapping[str, Any]) -> Result:
        """Try one contract of the technique at a place."""
        if self._process is None and self._started() is None:
            return self._result(at, contract, "broken", "can no longer be loaded")
        assert self._process is not None and self._process.stdin is not None
        request = {"technique": at, "contract": contract["contract"]}
        with contextlib.suppress(BrokenPipeError):  # it is dead; the answer will say so
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        begun = self._heard(WARMING)
        if begun is None:
            return self._result(at, contract, "broken", self._gone(WARMING))
        limit = float(self.timeout or contract["seconds"])
        answer = self._heard(limit)
        if answer is None:
            return self._result(at, contract, "broken", self._gone(limit))
        return self._result(at, contract, answer["outcome"], answer.get("sentence", ""))

    def _result(self, at: int, contract: Mapping[str, Any], outcome: Any, sentence: str) -> Result:
        offer = {key: value for key, value in self.offers[at].items() if key != "contracts"}
        return Result(**offer, contract=contract["contract"], promise=contract["promise"],
                      outcome=outcome, sentence=sentence)  # fmt: skip

    def _started(self) -> dict[str, Any] | None:
        """Start the other process; return what it offers, or None and note why not."""
        self._words.seek(0)
        self._words.truncate()
        self._lines = queue.Queue()
        self._process = _spawn(self._words)
        threading.Thread(target=_listen, args=(self._process, self._lines), daemon=True).start()
        self._tell({"target": self.target, "options": self.options, "path": sys.path})
        limit = max(self.timeout or LOADING, _STARTING)
        told = self._heard(limit)
        if told is None:
            self.troubles.append(f"{self.target} {self._gone(limit)} while it was loaded.")
        return told

    def _tell(self, record: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead; the missing answer will say so
            self._process.stdin.write(json.dumps(record, default=str) + "\n")
            self._process.stdin.flush()

    def _heard(self, seconds: float) -> dict[str, Any] | None:
        """Return the next line, or None when there is none in time or the process is gone."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        return None if line is None else dict(json.loads(line))

    def _gone(self, seconds: float) -> str:
        """End the process, and say whether it hung or died."""
        assert self._process is not None
        try:
            code: int | None = self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            code = None
        self._end()
        if code is None:
            return f"did not return within {seconds:g} s, so it was stopped"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"ended the whole process ({how}){self._last_words()}"

    def _last_words(self) -> str:
        self._words.seek(0)
        said = self._words.read().decode("utf-8", "replace").strip().splitlines()
        return f"; its last words were {said[-1][:200]!r}" if said else ""

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


def _spawn(words: IO[bytes]) -> subprocess.Popen[str]:
    """Start the process; what is printed there goes to ``words``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tunesmith.contracts.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,  # so that what it starts can be ended with it
    )


def _listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError):  # closed while it was read
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def check(
    target: str,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    timeout: float | None = None,
    told: Told | None = None,
) -> Report:
    """Try every contract on every technique of a distribution, plugin or module.

    ``told`` hears of each result as it comes. Raises PluginError when there is no such target.
    """
    with Bench(target, options, timeout) as bench:
        results = []
        for at, contract in bench.cases():
            result = bench.try_one(at, contract)
            results.append(result)
            if told:
                told(result)
        return Report(target, results, bench.troubles)
