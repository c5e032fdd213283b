"""The kinds of small Python functions: each draws one sketch, described in two ways."""

from collections.abc import Callable
from random import Random

from .code_parts import (
    LETTERS,
    Sketch,
    applied,
    arithmetic,
    chain,
    number_test,
    text_chain,
    text_step,
)

_NUMBER_NAMES = (
    "scale_up",
    "compute",
    "change",
    "shift",
    "convert",
    "adjust",
    "next_value",
    "score",
    "price",
    "step",
)
_PAIR_NAMES = ("combine", "mix", "blend", "total", "compare", "pair_score", "weigh", "measure")
_LIST_NAMES = (
    "collect",
    "process",
    "select",
    "pick",
    "filter_items",
    "summarize",
    "analyze",
    "handle",
    "sift",
)
_TEXT_NAMES = (
    "shape",
    "decorate",
    "make_label",
    "rewrite",
    "edit",
    "build_word",
    "mark",
    "transform",
)


def _chain(rng: Random) -> Sketch:
    """Sketch two or three operations on one number."""
    steps = chain(rng, rng.choice((2, 2, 3)))
    first = steps[0].verb.replace(" by", " x by") if "by" in steps[0].verb else ""
    first = first or {"adds": "adds {} to x", "subtracts": "subtracts {} from x"}[
        steps[0].verb.split()[0]
    ].format(steps[0].verb.split()[1])
    says = (
        ", then ".join([first, *(one.verb for one in steps[1:-1])]) + f" and then {steps[-1].verb}"
    )
    notes = "x " + ", then ".join(one.noun for one in steps)
    return Sketch("x", f"return {applied(steps, 'x')}", says, notes, "n", _NUMBER_NAMES)


def _branch(rng: Random) -> Sketch:
    """Sketch a function that takes one of two ways."""
    yes, no = arithmetic(rng), arithmetic(rng)
    words, test = number_test(rng, "x")
    says = f"returns x {yes.noun} if x is {words}, otherwise x {no.noun}"
    notes = f"x {yes.noun} when x is {words}, and x {no.noun} in all other cases"
    yes_code, no_code = applied([yes], "x"), applied([no], "x")
    body = f"if {test}:\n    return {yes_code}\nreturn {no_code}"
    if rng.random() < 0.4:
        body = f"return {yes_code} if {test} else {no_code}"
    return Sketch("x", body, says, notes, "n", _NUMBER_NAMES)


def _pair(rng: Random) -> Sketch:
    """Sketch a function of two numbers."""
    left, right = rng.choice((
        ("the sum of x and y", "(x + y)"), ("the product of x and y", "x * y"),
        ("the larger of x and y", "max(x, y)"),
        ("the smaller of x and y", "min(x, y)"), ("the distance between x and y", "abs(x - y)"),
        ("x minus y", "(x - y)"),
    ))  # fmt: skip
    steps = chain(rng, rng.choice((1, 2, 2)))
    code = applied(steps, right)
    # A bracket around the first sum is only needed before a product.
    code = (
        code.replace(right, right[1:-1], 1) if code.startswith("(x") and "*" not in code else code
    )
    says = f"takes {left}, then {' and then '.join(one.verb for one in steps)}"
    notes = f"{left}, {' and then '.join(one.noun for one in steps)}"
    return Sketch("x, y", f"return {code}", says, notes, "nn", _PAIR_NAMES)


def _weighted(rng: Random) -> Sketch:
    """Sketch a weighted sum of two numbers."""
    first, second, third = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 20)
    says = f"returns {first} times x plus {second} times y minus {third}"
    notes = f"x weighted with {first} and y weighted with {second}, less {third}"
    return Sketch(
        "x, y", f"return {first} * x + {second} * y - {third}", says, notes, "nn", _PAIR_NAMES
    )


def _mapped(rng: Random) -> Sketch:
    """Sketch a list made of changed items, all of them or those that pass a test."""
    steps = chain(rng, rng.choice((1, 1, 2)))
    nouns = " and then ".join(one.noun for one in steps)
    if rng.random() < 0.25:
        words, code = "every item", f"[{applied(steps, 'n')} for n in items]"
    else:
        kind, test = number_test(rng, "n")
        words, code = (
            f"every item that is {kind},",
            f"[{applied(steps, 'n')} for n in items if {test}]",
        )
    says, notes = f"returns a list of {words} {nouns}", f"a new list with {words} {nouns}"
    return Sketch("items", f"return {code}", says, notes, "l", _LIST_NAMES)


def _counted(rng: Random) -> Sketch:
    """Sketch a sum or a count over the items that pass a test, with a last operation."""
    words, test = number_test(rng, "n")
    what, start, inner = rng.choice((("sum", "sum", "n"), ("number", "len", "n")))
    step = [arithmetic(rng)] if rng.random() < 0.6 else []
    tail = f", {step[0].noun}" if step else ""
    says = f"returns the {what} of the items that are {words}{tail}"
    notes = f"the {'total' if what == 'sum' else 'count'} of all items that are {words}{tail}"
    code = applied(step, f"{start}([{inner} for n in items if {test}])")
    body = f"return {code}"
    if rng.random() < 0.4:
        more = "n" if what == "sum" else "1"
        loop = f"total = 0\nfor n in items:\n    if {test}:\n        total = total + {more}\n"
        body = f"{loop}return {applied(step, 'total')}"
    return Sketch("items", body, says, notes, "l", _LIST_NAMES)


def _picked(rng: Random) -> Sketch:
    """Sketch one item of a list with operations on it."""
    words, code = rng.choice((
        ("the largest item", "max(items)"), ("the smallest item", "min(items)"),
        ("the first item", "items[0]"),
        ("the last item", "items[-1]"), ("the sum of the items", "sum(items)"),
        ("the length of the list", "len(items)"), ("the second item", "items[1]"),
    ))  # fmt: skip
    steps = chain(rng, rng.choice((1, 2, 2)))
    says = f"takes {words}, then {' and then '.join(one.verb for one in steps)}"
    notes = f"{words}, {' and then '.join(one.noun for one in steps)}"
    return Sketch("items", f"return {applied(steps, code)}", says, notes, "l", _LIST_NAMES)


def _text(rng: Random) -> Sketch:
    """Sketch two or three operations on a string."""
    steps = [text_step(rng)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        step = text_step(rng)
        # Twice the same operation in a row would be a riddle and no task.
        if step.verb.split()[0] != steps[-1].verb.split()[0]:
            steps.append(step)
    told = [step.verb.format(o="the result" if at else "s") for at, step in enumerate(steps)]
    says = " and then ".join(told)
    notes = f"the text s, changed like this: {', then '.join(one.noun for one in steps)}"
    return Sketch("s", f"return {text_chain(steps, 's')}", says, notes, "s", _TEXT_NAMES)


def _letters(rng: Random) -> Sketch:
    """Sketch a count of one letter with an operation, or a string without one letter."""
    letter = rng.choice(LETTERS)
    if rng.random() < 0.5:
        step = arithmetic(rng)
        loop = f"count = 0\nfor c in s:\n    if c == '{letter}':\n        count = count + 1\n"
        body = f"{loop}return {applied([step], 'count')}"
        says = f"counts the letter '{letter}' in s and then {step.verb}"
        return Sketch(
            "s", body, says, f"how often '{letter}' stands in s, {step.noun}", "s", _TEXT_NAMES
        )
    other = rng.choice([one for one in "abcdefghijklmnopqrstuvwxyz-_" if one != letter])
    loop = f"result = ''\nfor c in s:\n    if c == '{letter}':\n        c = '{other}'\n"
    body = f"{loop}    result = result + c\nreturn result"
    says = f"replaces every letter '{letter}' in s with '{other}'"
    return Sketch(
        "s",
        body,
        says,
        f"the string s where '{other}' stands for each '{letter}'",
        "s",
        _TEXT_NAMES,
    )


KINDS: tuple[Callable[[Random], Sketch], ...] = (
    _chain, _chain, _branch, _branch, _pair, _weighted, _mapped, _mapped, _counted, _picked, _text,
    _text, _letters,
)  # fmt: skip
