"""The building blocks of the small Python functions: what they do, in words and in code."""

from dataclasses import dataclass
from random import Random

LETTERS: str = "aeionrlst"
WORDS: tuple[str, ...] = (
    "sun", "moon", "apple", "river", "stone", "cat", "level", "green", "banana", "tree", "lamp",
    "otter", "sea", "boat",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on `{v}`: its words as a verb phrase, its words as a noun phrase, its code."""

    verb: str
    noun: str
    code: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Sketch:
    """A function before it has a name: parameters, body, two descriptions and sample inputs."""

    params: str
    body: str
    says: str
    notes: str
    kinds: str
    names: tuple[str, ...]


def arithmetic(rng: Random, last: str = "") -> Step:
    """Draw one arithmetic operation, of another sign than the last one."""
    sign = rng.choice([one for one in "+-**" if one != last])
    number = rng.randint(2, 9) if sign == "*" else rng.randint(1, 20)
    words = {
        "+": (f"adds {number}", f"plus {number}"),
        "-": (f"subtracts {number}", f"minus {number}"),
        "*": (f"multiplies by {number}", f"times {number}"),
    }[sign]
    return Step(*words, f"{{v}} {sign} {number}", sign != "*")


def applied(steps: list[Step], name: str) -> str:
    """Return the code of steps applied one after another to a name."""
    code, weak = name, False
    for step in steps:
        inner = f"({code})" if weak and "*" in step.code else code
        code, weak = step.code.replace("{v}", inner), step.weak
    return code


def signs(step: Step) -> str:
    """Return the sign of an arithmetic step."""
    return step.code.split()[1]


def chain(rng: Random, length: int) -> list[Step]:
    """Draw arithmetic operations of which no two neighbours share their sign."""
    steps = [arithmetic(rng)]
    while len(steps) < length:
        steps.append(arithmetic(rng, signs(steps[-1])))
    return steps


def number_test(rng: Random, name: str) -> tuple[str, str]:
    """Draw a condition on a number: its words and its code."""
    number = rng.randint(1, 30)
    return rng.choice((
        (f"greater than {number}", f"{name} > {number}"),
        (f"less than {number}", f"{name} < {number}"),
        ("even", f"{name} % 2 == 0"),
        ("odd", f"{name} % 2 == 1"),
        (f"divisible by {2 + number % 8}", f"{name} % {2 + number % 8} == 0"),
    ))  # fmt: skip


def text_step(rng: Random) -> Step:
    """Draw one operation on a string."""
    count = rng.randint(2, 6)
    word = rng.choice(WORDS)
    return rng.choice((
        Step(f"takes the first {count} letters of {{o}}", f"the first {count} letters",
        f"{{v}}[:{count}]"),
        Step(f"takes the last {count} letters of {{o}}", f"the last {count} letters",
        f"{{v}}[-{count}:]"),
        Step("reverses {o}", "all of it backwards", "{v}[::-1]"),
        Step(f"repeats {{o}} {count} times", f"{count} copies", f"{{v}} * {count}"),
        Step(f"adds '{word}' to the end of {{o}}", f"'{word}' at the end", f"{{v}} + '{word}'",
        True),
        Step(f"puts '{word}' in front of {{o}}", f"'{word}' in front", f"'{word}' + {{v}}", True),
    ))  # fmt: skip


def text_chain(steps: list[Step], name: str) -> str:
    """Return the code of string steps applied one after another to a name."""
    code, weak = name, False
    for step in steps:
        tight = step.code.startswith("{v}[") or "{v} *" in step.code
        inner = f"({code})" if tight and weak else code
        code, weak = step.code.replace("{v}", inner), step.weak or "{v} *" in step.code
    return code


def sample(kind: str, rng: Random) -> object:
    """Draw an input of a kind: n number, l list of numbers, s string."""
    if kind == "n":
        return rng.randint(0, 40)
    if kind == "l":
        return [rng.randint(0, 40) for _ in range(rng.randint(2, 6))]
    return rng.choice(WORDS) + rng.choice(("", "", rng.choice(WORDS)))
