"""The worker behind ``pyrunner``: reads programs, checks them, runs them, answers with plain data.

Run by path in a bare interpreter, so nothing of Tunesmith or of any installed package is there.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __name__ != "__main__":
    from tunesmith.pyrules import BUILTINS, TOO_MUCH, Instrument, RefusedError, check
else:  # a bare interpreter knows no packages; at the end of the path nothing can be shadowed
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    from pyrules import BUILTINS, TOO_MUCH, Instrument, RefusedError, check

MEMORY = 512 * 2**20
SECONDS = 2
STEPS = 200_000
ITEMS = 100_000
BITS = 8_192
_ANNOTATIONS = 0x1000000  # the flag of `from __future__ import annotations`


class SpentError(BaseException):
    """The program used up its steps; not an Exception, so that nothing in it could catch it."""


class Budget:
    """Counts steps, so that a verdict never depends on how fast the machine is."""

    def __init__(self) -> None:
        self.left = STEPS

    def tick(self) -> bool:
        """Use one step."""
        self.left -= 1
        if self.left < 0:
            raise SpentError
        return True


def guarded_mul(left: Any, right: Any) -> Any:
    """Multiply unless the result would be huge."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    for value, times in ((left, right), (right, left)):
        many = isinstance(value, str | list | tuple) and isinstance(times, int)
        if many and len(value) * times > ITEMS:
            raise RefusedError("a repetition would be too long")
    return left * right


def _check_bits(bits: int) -> None:
    if bits > BITS:
        raise RefusedError("a number would be too large")


def guarded_pow(left: Any, right: Any, modulus: Any = None) -> Any:
    """Raise to a power unless the result would be huge."""
    if isinstance(left, int) and isinstance(right, int) and modulus is None:
        _check_bits(left.bit_length() * abs(right))
    return pow(left, right, modulus)


def guarded_shift(left: Any, right: Any) -> Any:
    """Shift left unless the result would be huge."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right)
    return left << right


def guarded_mod(left: Any, right: Any) -> Any:
    """Take the remainder; ``%`` on text would be a formatting language."""
    if isinstance(left, str):
        raise RefusedError("% on text is not allowed")
    return left % right


def guarded_sum(values: Any, start: Any = 0) -> Any:
    """Add up; joining lists this way copies all of them again and again, so their size is bound."""
    if not isinstance(start, list | tuple):
        return sum(values, start)
    for value in values:
        if len(start) + len(value) > ITEMS:
            raise RefusedError("a sum would be too long")
        start = start + value
    return start


def guarded_range(*bounds: Any) -> range:
    """Return a range of at most a hundred thousand numbers."""
    made = range(*bounds)
    try:
        fits = len(made) <= ITEMS
    except OverflowError:
        fits = False
    if not fits:
        raise RefusedError("a range would be too long")
    return made


def _silent(*_: Any, **__: Any) -> None:
    """Stand in for print: a function is judged by what it returns."""


def namespace(budget: Budget) -> dict[str, Any]:
    """Return the globals of one program: a few builtins, and the guards it cannot name."""
    allowed: dict[str, Any] = {name: getattr(builtins, name) for name in BUILTINS}
    allowed |= {"range": guarded_range, "pow": guarded_pow, "sum": guarded_sum, "print": _silent}
    allowed |= {"_tick": budget.tick, "_mul": guarded_mul, "_pow": guarded_pow}
    allowed |= {"_shift": guarded_shift, "_mod": guarded_mod}
    return {"__builtins__": allowed}


def plain(value: Any, room: list[int], depth: int = 0) -> Any:
    """Return a value as data; raise RefusedError when it is too big, too deep or no data."""
    room[0] -= len(value) + 1 if isinstance(value, str) else 1
    if room[0] < 0 or depth > 50:
        raise RefusedError("the result is too large")
    if value is None or type(value) in (bool, float, str):
        return value
    if type(value) is int:
        return _number(value)
    if type(value) in (list, tuple):
        return [plain(one, room, depth + 1) for one in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {plain(k, room): plain(v, room, depth + 1) for k, v in value.items()}
    raise RefusedError(f"a result of type {type(value).__name__} cannot be compared")


def _number(value: int) -> int:
    _check_bits(value.bit_length())
    return value


def outcome(run: Callable[[], Any]) -> list[Any]:
    """Return ``["ok", value]`` or ``["error", why]`` of running something a model wrote."""
    try:
        return ["ok", plain(run(), [ITEMS])]
    except SpentError:
        return ["error", "it takes too many steps"]
    except RefusedError as error:
        return ["refused", str(error)]
    except MemoryError:
        return ["error", TOO_MUCH]
    except Exception as error:  # noqa: BLE001 - whatever it raises is its own wrong answer
        return ["error", type(error).__name__]


def run(code: str, entry: str, calls: list[str]) -> list[list[Any]]:
    """Return one outcome per call (its arguments as JSON), or a single one if nothing can run."""
    budget = Budget()
    space = namespace(budget)

    def load() -> None:
        tree = ast.parse(code)
        check(tree)
        tree = ast.fix_missing_locations(Instrument().visit(tree))
        # Annotations stay text: List[int] must not need an import.
        exec(compile(tree, "answer", "exec", _ANNOTATIONS, dont_inherit=True), space)
        if not callable(space.get(entry)):
            raise RefusedError(f"it defines no function {entry}")

    loaded = outcome(load)
    if loaded[0] != "ok":
        return [loaded]
    found = []
    for arguments in calls:
        budget.left = STEPS
        found.append(outcome(lambda a=arguments: space[entry](*json.loads(a))))  # type: ignore[misc]
    return found


def limit() -> None:
    """Give up memory, files and processes for good."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    if sys.platform == "linux":  # elsewhere these two cannot be lowered; the guards above hold
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def serve() -> None:
    """Answer every batch of programs with one line per program, until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        for program in order["programs"]:
            _allow_seconds()
            results = run(program["code"], program["entry"], program["calls"])
            sys.stdout.write(json.dumps({"nonce": order["nonce"], "results": results}) + "\n")
            sys.stdout.flush()


def _allow_seconds() -> None:
    """Grant the next program its CPU seconds, from what has been used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


if __name__ == "__main__":
    limit()
    serve()
