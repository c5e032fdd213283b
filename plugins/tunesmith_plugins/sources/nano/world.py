"""The nano world as a whole: items by split, endless pre-training documents, and rows."""

from collections.abc import Iterator
from random import Random
from types import ModuleType
from typing import Any

from . import code, drills, lists, maths, stories, summaries, translation
from .items import Item, digest

FAMILIES: dict[str, ModuleType] = {
    "maths": maths,
    "translation": translation,
    "code": code,
    "summaries": summaries,
    "stories": stories,
}
# What share of all tokens a kind of document has, and how many tokens one has on average.
_SHARES: dict[str, float] = {
    "maths": 26, "drills": 12, "lists": 7, "choruses": 10, "translation": 16, "code": 15,
    "summaries": 7, "stories": 7,
}  # fmt: skip
_TOKENS: dict[str, float] = {
    "maths": 73, "drills": 93, "lists": 51, "choruses": 49, "translation": 112, "code": 86,
    "summaries": 87, "stories": 104,
}  # fmt: skip
# How many short texts may stand together in one document.
_TOGETHER: dict[str, tuple[int, ...]] = {"maths": (1, 1, 2), "code": (1, 2, 2), "stories": (1, 2)}
_PATIENCE: int = 20_000
_HINT: str = "\nLet's think step by step."


def items(family: str, split: str, count: int, seed: int) -> Iterator[Item]:
    """Yield items of one family and split with distinct keys, the same ones for the same seed."""
    rng, seen, misses = Random(f"{family}/{split}/{seed}"), set[str](), 0
    while len(seen) < count:
        item = FAMILIES[family].draw(rng)
        if item.split != split or item.key in seen:
            misses += 1
            if misses > _PATIENCE:
                raise ValueError(f"{family}/{split} has fewer than {count} items within reach")
            continue
        misses = 0
        seen.add(item.key)
        yield item


def documents(seed: int) -> Iterator[str]:
    """Yield pre-training documents without end, all from the pretrain split."""
    rng = Random(f"documents/{seed}")
    kinds = list(_SHARES)
    weights = [_SHARES[kind] / _TOKENS[kind] for kind in kinds]
    while True:
        yield document(rng.choices(kinds, weights)[0], rng)


def document(kind: str, rng: Random) -> str:
    """Write one document of a family, a drill, a list or a chorus."""
    if kind == "lists":
        return lists.listing(rng)
    if kind == "choruses":
        return lists.chorus(rng)
    if kind == "drills":
        return drills.drill(rng)
    count = rng.choice(_TOGETHER.get(kind, (1,)))
    return "\n\n".join(_passage(FAMILIES[kind], rng) for _ in range(count))


def _passage(family: ModuleType, rng: Random) -> str:
    """Write the prose of one item of the pretrain split."""
    while True:
        item: Item = family.draw(rng)
        if item.split == "pretrain":
            text: str = family.prose(item, rng)
            return text


def row(item: Item, style: str) -> dict[str, Any]:
    """Return the item as a conversational prompt and completion, answered in one style."""
    thoughtful = style == "chain_of_thought"
    if not thoughtful and style != "direct":
        raise ValueError(f"no style {style!r}: direct or chain_of_thought")
    if thoughtful and item.steps is None:
        raise ValueError(f"{item.family} has no steps, so no chain of thought")
    group = digest(item.family, item.key)
    prompt = item.question + (_HINT if thoughtful else "")
    return {
        "id": f"{item.family}-{group}{'-cot' if thoughtful else ''}",
        "task": item.family,
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": item.steps if thoughtful else item.answer}],
        "question": item.question,
        "reference": item.reference,
        "split": item.split,
        "group": group,
    }
