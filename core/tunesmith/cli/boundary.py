"""Where every error ends: one clear message, an exit code, and no traceback unless asked for.

| code | meaning |
|---|---|
| 0 | done |
| 1 | it failed, or a gate refused |
| 2 | the command line or the configuration is wrong; nothing was started |
| 3 | the run waits for people |
| 130 | stopped with Ctrl-C |
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable

FAILED, USAGE, WAITING, INTERRUPTED = 1, 2, 3, 130
DEBUG = "TUNESMITH_DEBUG"
_DISK = {
    errno.ENOSPC: "the disk is full; free some space (`tunesmith gc --dry-run` shows what can go)",
    errno.EDQUOT: "the disk quota is used up; free some space, or set TUNESMITH_HOME elsewhere",
    errno.EROFS: "the file system is read-only; set TUNESMITH_HOME to a folder you may write to",
    errno.EACCES: "permission denied; set TUNESMITH_HOME to a folder you may write to",
    errno.EMFILE: "too many open files; raise the limit with `ulimit -n 4096`",
}


CHATTY = ("torchao", "torch.utils._pytree", "bitsandbytes")
"""Loggers that tell, when they are imported, of kernels for machines other than this one."""


def guarded(argv: list[str]) -> int:
    """Run the command line; whatever happens becomes a message and an exit code."""
    argv = _with_globals(argv)
    if not os.environ.get(DEBUG):
        _hush()
    try:
        from tunesmith.cli.commands import app

        app(args=argv, prog_name="tunesmith")
    except SystemExit as done:
        return _code(done.code)
    except KeyboardInterrupt:
        _say("Stopped.")
        return INTERRUPTED
    except BrokenPipeError:
        # `tunesmith runs list | head` is no error; Python would complain while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001  nothing may reach the user as a traceback
        return failed(error, as_json="--json" in argv)
    return 0


def _hush() -> None:
    import logging

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


def failed(error: BaseException, *, as_json: bool = False) -> int:
    """Show an error and return the code to exit with."""
    message, code = told(error)
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    _say(message)
    if as_json:
        print(json.dumps({"error": message, "code": code}))  # noqa: T201  the document asked for
    return code


def told(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    from tunesmith.errors import ConfigError, Stopped, TunesmithError, Waiting

    error = _blamed(error)
    known: list[tuple[type[BaseException], int]] = [
        (Waiting, WAITING),
        (Stopped, INTERRUPTED),
        (ConfigError, USAGE),
        (TunesmithError, FAILED),
    ]
    for kind, code in known:
        if isinstance(error, kind):
            return str(error), code
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{_DISK[error.errno]}.", FAILED
    if isinstance(error, MemoryError):
        return "Out of memory. Lower batch sizes or counts in the config.", FAILED
    line = (str(error).strip().splitlines() or [""])[0]
    what = f"{type(error).__name__}: {line}" if line else type(error).__name__
    return f"{what}\nThis is a defect in Tunesmith or a plugin; run again with --debug.", FAILED


def _blamed(error: BaseException) -> BaseException:
    """Return an error that names the plugin whose code raised it, if it was one's."""
    # Where no plugin was loaded none is at fault, and looking would load them all.
    if "tunesmith.plugins" not in sys.modules:
        return error
    from tunesmith.blame import blamed

    return blamed(error)


def _say(message: str) -> None:
    """Write to stderr, in red where somebody looks."""
    red = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    text = f"\x1b[31m{_printable(message)}\x1b[0m" if red else _printable(message)
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _printable(text: str) -> str:
    """Keep a file name or a cell of somebody's data from steering the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def _code(code: str | int | None) -> int:
    if isinstance(code, str):
        _say(code)
        return FAILED
    return code or 0


def _with_globals(argv: list[str]) -> list[str]:
    """Take ``--debug`` and ``--home`` wherever they stand; they belong to every command."""
    rest: list[str] = []
    items = iter(argv)
    for item in items:
        if item == "--":
            rest += [item, *items]
        elif item == "--debug":
            os.environ[DEBUG] = "1"
        elif item == "--home" or item.startswith("--home="):
            value = item.partition("=")[2] or next(items, "")
            if not value:
                return ["--home"]  # the parser says what is missing
            os.environ["TUNESMITH_HOME"] = value
        else:
            rest.append(item)
    return rest


Command = Callable[..., None]
