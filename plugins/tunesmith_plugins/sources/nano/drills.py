"""Dense drill documents: many plain equations, without any story."""

from random import Random

from .items import person

_WORDS: dict[str, tuple[str, ...]] = {
    "+": (
        "Add {a} and {b} and you get {c}.",
        "The sum of {a} and {b} is {c}.",
        "{a} plus {b} is {c}.",
    ),
    "-": (
        "Take {b} from {a} and {c} is left.",
        "{a} minus {b} is {c}.",
        "From {b} to {a} it is {c}.",
    ),
    "x": ("{a} times {b} is {c}.", "{a} boxes of {b} make {c}.", "{a} rows of {b} are {c}."),
    "/": ("Half of {a} is {c}.", "Halve {a} and you get {c}."),
}


def _sum(rng: Random) -> tuple[int, str, int, int]:
    """Draw one equation, spread over the whole range."""
    sign = rng.choices("+-x/", (40, 40, 17, 3))[0]
    if sign == "x":
        first = rng.randint(2, 9)
        second = rng.randint(2, 99) if first > 2 or rng.random() < 0.7 else rng.randint(100, 499)
        return first, sign, second, first * second
    if sign == "/":
        half = rng.randint(1, 499)
        return 2 * half, sign, 2, half
    return _sum_or_difference(sign, rng)


def _sum_or_difference(sign: str, rng: Random) -> tuple[int, str, int, int]:
    """Draw an addition or a subtraction of numbers of two or three digits, few of one."""
    low, high = rng.choices(((1, 9), (10, 99), (100, 899)), (10, 40, 50))[0]
    change = rng.randint(low, high)
    rest = rng.randint(1, 99) if rng.random() < 0.15 else rng.randint(1, 999 - change)
    rest = min(rest, 999 - change)
    if sign == "+":
        pair = (rest, change) if rng.random() < 0.8 else (change, rest)
        return *_signed(pair[0], sign, pair[1]), rest + change
    return *_signed(rest + change, sign, change), rest


def _signed(first: int, sign: str, second: int) -> tuple[int, str, int]:
    """Return the left side of an equation."""
    return first, sign, second


def _line(rng: Random, wordy: float) -> str:
    """Write one equation, in words with the given probability."""
    a, sign, b, c = _sum(rng)
    if rng.random() < wordy:
        return rng.choice(_WORDS[sign]).format(a=a, b=b, c=c)
    return f"{a} {sign} {b} = {c}."


def _chain(rng: Random, length: int) -> str:
    """Write equations in which each goes on with the result of the one before."""
    total, lines = rng.randint(100, 999), []
    for _ in range(length):
        up = rng.random() < (999 - total) / 999
        change = rng.randint(1, max(1, 999 - total if up else total))
        after = total + change if up else total - change
        lines.append(f"{total} {'+' if up else '-'} {change} = {after}.")
        total = after
    return " ".join(lines)


def drill(rng: Random) -> str:
    """Write one drill document of six to ten equations."""
    length = rng.randint(6, 10)
    if rng.random() < 0.25:
        return _chain(rng, length)
    wordy = rng.choice((0.0, 0.0, 0.3, 0.7))
    head = rng.choice(("", "", "", "Sums to learn. ", f"{person(rng)[0]} did these sums. "))
    joint = rng.choice((" ", " ", "\n"))
    return head + joint.join(_line(rng, wordy) for _ in range(length))
