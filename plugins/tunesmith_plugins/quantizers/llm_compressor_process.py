"""Run the script in the other environment, pass on what it says, and leave nothing behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from tunesmith import ModelError
from tunesmith_plugins.quantizers import llm_compressor_child
from tunesmith_plugins.quantizers.llm_compressor_environment import Environment, clean

log = logging.getLogger("tunesmith.quantizers")

SCRIPT = Path(llm_compressor_child.__file__)
_TAIL = 15
"""Lines of the log that an error quotes."""
_DRAIN = 5.0
"""Seconds to read what is left in the pipe of a process that has ended."""


def run(environment: Environment, order: dict[str, Any], work: Path, timeout: float) -> None:
    """Carry out an order; raise ModelError, with the end of its log, when that fails.

    However this is left, the child and all that it started are gone; it also ends by itself when
    this process dies, since it watches its standard input.
    """
    paper = work / "order.json"
    paper.write_text(json.dumps(order), encoding="utf-8")
    said: deque[str] = deque(maxlen=_TAIL)
    child = _start(environment, paper, work)
    reader = threading.Thread(target=_listen, args=(child.stdout, said), daemon=True)
    reader.start()
    try:
        code = child.wait(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"llm-compressor was not done after {timeout:g} s and was stopped. Raise `timeout`,"
            f" or use fewer `samples`. {_quoted(said)}"
        ) from error
    finally:
        _stop(child)
        reader.join(_DRAIN)
    if code:
        raise ModelError(_why(code, said, environment))


def _start(environment: Environment, paper: Path, work: Path) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            # Isolated: no PYTHON* variable, no user packages, no folder of ours on its path.
            [str(environment.python), "-I", str(SCRIPT), str(paper)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=work,
            env=clean(work / "cache"),
            start_new_session=True,  # so that it can be ended with everything it starts
        )
    except OSError as error:
        raise ModelError(f"{environment.python} cannot be started: {error}.") from error


def _listen(pipe: IO[str] | None, said: deque[str]) -> None:
    for line in pipe or ():
        if text := line.strip():
            said.append(text)
            log.info("llm-compressor: %s", text)


def _stop(child: subprocess.Popen[str]) -> None:
    """End the child's whole group; its own end does not end what it has started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("llm-compressor left no process behind")
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _why(code: int, said: deque[str], environment: Environment) -> str:
    if code == llm_compressor_child.REFUSED and said:
        return f"llm-compressor cannot do this: {said[-1]}"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    hint = " That is often too little memory." if code == -signal.SIGKILL else ""
    version = environment.versions["llmcompressor"]
    return f"llm-compressor {version} ({environment.python}) {how}.{hint} {_quoted(said)}"


def _quoted(said: deque[str]) -> str:
    if not said:
        return "It said nothing."
    return "The end of its log:\n" + "\n".join(f"  {line}" for line in list(said))
