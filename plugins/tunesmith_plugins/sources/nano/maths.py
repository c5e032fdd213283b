"""Word problems with whole numbers from 0 to 999, two to four equations each."""

from random import Random

from .items import Item, person, sentence_case, two_people
from .maths_words import DOUBLE, HALVE, SITUATIONS, Situation

_PLANS: tuple[tuple[str, ...], ...] = (
    ("start", "gain", "lose"),
    ("start", "lose", "gain"),
    ("start", "lose", "lose"),
    ("start", "gain", "gain"),
    ("start", "gain", "lose", "gain"),
    ("start", "pack_gain"),
    ("start", "pack_lose"),
    ("start", "halve", "gain"),
    ("start", "double", "lose"),
    ("pack", "gain"),
    ("pack", "lose"),
    ("pack", "gain", "lose"),
    ("pack", "pack_gain"),
)
_COMPARE: tuple[str, ...] = ("more", "fewer", "times")

# An event is its kind, its count of packs (0 when it has none) and its number.
Event = tuple[str, int, int]


def equations(events: tuple[Event, ...]) -> list[list[str]]:
    """Return the equations of every event, in the order in which they are worked out."""
    total, found = 0, []
    for kind, packs, number in events:
        lines, total = _event_equations(kind, packs, number, total)
        found.append(lines)
    return found


def _event_equations(kind: str, packs: int, number: int, total: int) -> tuple[list[str], int]:
    """Return the equations of one event and the total after it."""
    if kind == "start":
        return [], number
    if kind == "halve":
        return [f"{total} / 2 = {total // 2}"], total // 2
    if kind == "double":
        return [f"2 x {total} = {2 * total}"], 2 * total
    amount = packs * number if packs else number
    lines = [f"{packs} x {number} = {amount}"] if packs else []
    if kind == "pack":
        return lines, amount
    sign, after = ("+", total + amount) if kind.endswith("gain") else ("-", total - amount)
    return [*lines, f"{total} {sign} {amount} = {after}"], after


def _totals(events: tuple[Event, ...]) -> list[int]:
    """Return the total after every event."""
    total, found = 0, []
    for kind, packs, number in events:
        total = _event_equations(kind, packs, number, total)[1]
        found.append(total)
    return found


def _number(rng: Random) -> int:
    """Draw a change: two digits or three."""
    return rng.randint(10, 99) if rng.random() < 0.45 else rng.randint(100, 899)


def _event(kind: str, rng: Random) -> Event:
    """Draw the numbers of one event."""
    if kind.startswith("pack"):
        return kind, rng.randint(2, 9), rng.randint(3, 99)
    if kind in ("halve", "double"):
        return kind, 0, 2
    return kind, 0, rng.randint(100, 999) if kind == "start" else _number(rng)


def _events(rng: Random) -> tuple[Event, ...]:
    """Draw a plan and numbers that keep every total between 1 and 999."""
    plan = rng.choice(_PLANS)
    while True:
        events = tuple(_event(kind, rng) for kind in plan)
        totals = _totals(events)
        even = all(totals[at - 1] % 2 == 0 for at, kind in enumerate(plan) if kind == "halve")
        if even and all(1 <= total <= 999 for total in totals):
            return events


def _fill(template: str, names: dict[str, str], event: Event) -> str:
    """Return the sentence of one event, without its last dot."""
    text = template.format(**names, k=event[1], n=event[2])
    return sentence_case(text)


def _sentences(events: tuple[Event, ...], rng: Random) -> tuple[list[str], str, str]:
    """Tell the events in one situation: their sentences, the question and what is counted."""
    scene = rng.choice(SITUATIONS)
    (name, pronoun), (other, _) = two_people(rng)
    names = {"who": scene.hero or name, "pro": pronoun, "other": other}
    names["things"] = rng.choice(scene.things)
    told = [_fill(rng.choice(_templates(scene, event[0])), names, event) for event in events]
    return told, rng.choice(scene.asks).format(**names), names["things"]


def _templates(scene: Situation, kind: str) -> tuple[str, ...]:
    """Return the sentences that can tell this kind of event."""
    if kind == "halve":
        return HALVE
    if kind == "double":
        return DOUBLE
    found: tuple[str, ...] = getattr(scene, kind)
    return found


def _compare(rng: Random) -> tuple[str, int, int]:
    """Draw two numbers to compare whose sum stays below 1000."""
    kind = rng.choice(_COMPARE)
    while True:
        first = rng.randint(10, 110) if kind == "times" else rng.randint(100, 600)
        change = rng.randint(2, 9) if kind == "times" else rng.randint(10, 400)
        second = _second(kind, first, change)
        if second >= 1 and first + second <= 999:
            return kind, first, change


def _second(kind: str, first: int, change: int) -> int:
    """Return what the second person has."""
    return {"more": first + change, "fewer": first - change, "times": first * change}[kind]


def _compare_lines(kind: str, first: int, change: int) -> list[str]:
    """Return the two equations of a comparison."""
    second = _second(kind, first, change)
    one = (
        f"{change} x {first}"
        if kind == "times"
        else f"{first} {'+' if kind == 'more' else '-'} {change}"
    )
    return [f"{one} = {second}", f"{first} + {second} = {first + second}"]


def _compare_told(kind: str, first: int, change: int, rng: Random) -> tuple[list[str], str, str]:
    """Tell a comparison: its sentences, the question and what is counted."""
    (one, _), (two, _) = two_people(rng)
    things = rng.choice(SITUATIONS[0].things)
    words = f"{change} times as many as" if kind == "times" else f"{change} {kind} than"
    told = [f"{one} had {first} {things}", f"{two} had {words} {one}"]
    asks = (
        f"How many {things} did they have together?",
        f"How many {things} did {one} and {two} have in all?",
    )
    return told, rng.choice(asks), things


def draw(rng: Random) -> Item:
    """Draw one word problem; its key is the arithmetic alone, so no split shares a sum."""
    if rng.random() < 0.2:
        plan = _compare(rng)
        lines, told = _compare_lines(*plan), _compare_told(*plan, rng)
        key = " ".join(map(str, plan))
    else:
        events = _events(rng)
        lines, told = [line for part in equations(events) for line in part], _sentences(events, rng)
        key = " ".join(f"{kind} {packs} {number}" for kind, packs, number in events)
    answer = lines[-1].split(" = ")[1]
    question = " ".join([f"{sentence}." for sentence in told[0]] + [told[1]])
    steps = " ".join([f"{line}." for line in lines] + [f"The answer is {answer}."])
    return Item("maths", key, question, answer, steps, {"answer": answer})


def _events_of(key: str) -> tuple[Event, ...]:
    """Read the events back from a key."""
    words = key.split()
    return tuple(
        (words[at], int(words[at + 1]), int(words[at + 2])) for at in range(0, len(words), 3)
    )


def _joined(sentence: str, lines: list[str], things: str, rng: Random) -> str:
    """Return a sentence of the tale with its equations inside."""
    if not lines:
        return f"{sentence}."
    result = lines[-1].split(" = ")[1]
    sums = " and ".join(lines)
    return rng.choice((
        f"{sentence}: {sums}.",
        f"{sentence}. {sums}.",
        f"{sentence}, so now there were {result}, because {sums}.",
        f"{sentence}. That makes {result} {things}: {sums}.",
        f"{sentence}, and {sums}.",
    ))  # fmt: skip


def prose(item: Item, rng: Random) -> str:
    """Narrate the arithmetic of the item: its sums inside the tale, after it, or left out."""
    told, parts, things = _tale(item, rng)
    way = rng.random()
    if way < 0.3:
        body = [_joined(one, part, things, rng) for one, part in zip(told, parts, strict=True)]
    else:
        lines = [line for part in parts for line in part]
        body = [f"{sentence}." for sentence in told]
        body += [_worked(lines, rng)] if way < 0.9 else [_found(item, things, rng)]
    return " ".join([*_opening(rng), *body, *_closing(item, things, rng)])


def _tale(item: Item, rng: Random) -> tuple[list[str], list[list[str]], str]:
    """Tell the item anew: its sentences, the equations of each, and what is counted."""
    if item.key.split()[0] in _COMPARE:
        kind, first, change = item.key.split()
        lines = _compare_lines(kind, int(first), int(change))
        told, _, things = _compare_told(kind, int(first), int(change), rng)
        return told, [[], lines], things
    events = _events_of(item.key)
    told, _, things = _sentences(events, rng)
    return told, equations(events), things


def _worked(lines: list[str], rng: Random) -> str:
    """Write all the sums of a tale in a row, as on a slip of paper."""
    head = rng.choice((
        "On paper: ", "The sums: ", "Here is how it goes: ", f"{person(rng)[0]} wrote ",
        f"{person(rng)[0]} worked it out: ", "This is ", "We write ",
    ))  # fmt: skip
    joint = rng.choice((", then ", "; ", " and ", ", ", ", and after that "))
    return f"{head}{joint.join(lines)}."


def _found(item: Item, things: str, rng: Random) -> str:
    """Say what a tale comes to without working it out."""
    return rng.choice((
        f"All in all that comes to {item.answer}.", f"{item.answer} {things} it was at last.",
        f"At the end of the day, {item.answer} {things}.",
    ))  # fmt: skip


def _opening(rng: Random) -> list[str]:
    """Draw how a tale begins, often not at all."""
    day = rng.choice(("On Monday", "Last week", "One day", "In summer", "In the morning"))
    return rng.choice(
        ([], [], [f"{day} {person(rng)[0]} counted and wrote this down."], ["A little sum."])
    )


def _closing(item: Item, things: str, rng: Random) -> list[str]:
    """Draw how a tale ends."""
    last = item.answer
    return rng.choice((
        [], [f"In the end there were {last} {things}."], [f"So the number is {last}."],
        [f"That is {last} {things}."], [],
    ))  # fmt: skip


def capacity() -> int:
    """Count the start-gain-lose problems alone whose last change has two digits."""
    return 90 * sum(min(999 - first, 899) - 9 for first in range(100, 990))
