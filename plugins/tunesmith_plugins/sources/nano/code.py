"""Small Python functions over numbers, lists and strings, described in words."""

import re
from collections.abc import Callable
from random import Random
from typing import Any

from .code_parts import Sketch, sample
from .code_sketches import KINDS
from .items import Item, digest

_BUILTINS: dict[str, Any] = {
    "len": len, "sum": sum, "max": max, "min": min, "abs": abs, "sorted": sorted, "range": range,
}  # fmt: skip


def source(name: str, sketch: Sketch) -> str:
    """Return the Python source of a named sketch."""
    body = "\n".join(f"    {line}" for line in sketch.body.split("\n"))
    return f"def {name}({sketch.params}):\n{body}"


def run(text: str, name: str) -> Callable[..., Any]:
    """Execute source that this module wrote and return its function."""
    space: dict[str, Any] = {"__builtins__": _BUILTINS}
    exec(text, space)
    function: Callable[..., Any] = space[name]
    return function


# Questions have words of their own, so that pre-training on prose alone does not answer them.
_ASKED: tuple[tuple[str, str], ...] = (
    (r"\badds (\d+) to x", r"raises x by \1"), (r"\badds (\d+)", r"raises it by \1"),
    (r"\bsubtracts (\d+) from x", r"lowers x by \1"), (r"\bsubtracts (\d+)", r"lowers it by \1"),
    (r"\bmultiplies x by (\d+)", r"scales x with \1"),
    (r"\bmultiplies by (\d+)", r"scales it with \1"),
    (r"\bplus (\d+)", r"raised by \1"), (r"\bminus (\d+)", r"lowered by \1"),
    (r"(?<!returns )\btimes (\d+)", r"scaled with \1"), (r"\bgreater than\b", "above"),
    (r"\bless than\b", "below"), (r"\bdivisible by (\d+)", r"a multiple of \1"),
    (r"\botherwise\b", "or else"), (r"^returns\b", "hands back"), (r"^takes\b", "starts with"),
    (r"\bcounts the letter ('.')", r"tells how often \1 occurs"),
    (r"\breplaces every letter ('.') in s with ('.')", r"swaps each \1 of s for \2"),
    (r"\breverses\b", "turns around"), (r"\brepeats (.+?) (\d+) times", r"writes \1 out \2-fold"),
    (r"\badds ('\w+') to the end of", r"appends \1 to"),
    (r"\bputs ('\w+') in front of", r"prepends \1 to"),
    (r"\btakes the first (\d+) letters of", r"keeps the leading \1 letters of"),
    (r"\btakes the last (\d+) letters of", r"keeps the trailing \1 letters of"),
)  # fmt: skip


def asked(says: str) -> str:
    """Return what a function does in the words of a question."""
    for found, said in _ASKED:
        says = re.sub(found, said, says)
    return says


def _tests(text: str, name: str, kinds: str, rng: Random) -> list[list[Any]]:
    """Return six to eight tests: the arguments and what the reference gives for them."""
    function, tests = run(text, name), []
    for _ in range(rng.randint(6, 8)):
        arguments = [sample(kind, rng) for kind in kinds]
        tests.append([arguments, function(*arguments)])
    return tests


def _item(sketch: Sketch, rng: Random) -> Item:
    """Give a sketch its name, its question and its tests."""
    name = rng.choice(sketch.names)
    text = source(name, sketch)
    call = f"{name}({sketch.params})"
    asks = ("Write a Python function named {} that {}.", "Write a function {} in Python that {}.")
    reference = {
        "entry_point": name,
        "notes": sketch.notes,
        # A test depends on the behaviour alone, whoever draws it.
        "tests": _tests(text, name, sketch.kinds, Random(digest("code", sketch.says))),
    }
    return Item(
        "code",
        sketch.says,
        rng.choice(asks).format(call, asked(sketch.says)),
        text,
        None,
        reference,
    )


def draw(rng: Random) -> Item:
    """Draw one function to write; its key is the behaviour without the function's name."""
    return _item(rng.choice(KINDS)(rng), rng)


def _example(item: Item, rng: Random) -> str:
    """Write an example call with its result."""
    arguments, expected = rng.choice(item.reference["tests"])
    call = f"{item.reference['entry_point']}({', '.join(map(repr, arguments))})"
    return rng.choice((
        f"For example, {call} gives {expected!r}.", f"With it {call} is {expected!r}.",
        f">>> {call}\n{expected!r}",
        f"{call} == {expected!r}",
    ))  # fmt: skip


def _heading(item: Item, rng: Random) -> str:
    """Describe the function in a programmer's notebook."""
    name = item.reference["entry_point"]
    does, notes = item.key, item.reference["notes"]
    return rng.choice((
        f"Here is a function that {does}:", f"The function {name} {does}.", f"{name}: {does}.",
        f"# {name} {does}",
        f"My note on {name}. It {does}.", f"This small helper {does}. I call it {name}.",
        f"To remember: {name} {does}, like this.", f"{name} gives {notes}.",
        f"What we need here is {notes}:",
        f"# {notes}",
    ))  # fmt: skip


def prose(item: Item, rng: Random) -> str:
    """Write a programmer's notebook entry: what the function does, its code, perhaps a call."""
    parts = [_heading(item, rng), item.answer]
    if rng.random() < 0.5:
        parts.append(_example(item, rng))
    return rng.choice(("\n\n", "\n")).join(parts)


def capacity() -> int:
    """Count the branches on `greater than` and `less than` alone."""
    ways = 20 + 20 + 8
    return 2 * 30 * ways * ways
