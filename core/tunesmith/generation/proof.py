"""Proof that an accelerator leaves a model's answers as they are, on the model itself.

Three things are shown. Greedy answers are compared token by token; where one differs, the margin
between the two tokens is told, and it counts as a tie only if it is smaller than what the plain
engine's own margins move when it answers in company instead of alone. Drawn answers are compared
by their first two tokens, with and without, from seeds that the two do not share. And what it
saves is counted in steps of the model, never in seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tunesmith.generation.accelerate import with_accelerators
from tunesmith.generation.answers import row_seed
from tunesmith.records import Completion, Generation
from tunesmith.techniques import Accelerator, Engine, OpenEngine, Sampler

ALPHA = 0.001
"""A distribution is called another one when equal ones would differ this much once in a thousand
times."""
_DRAWN = 4
"""New tokens of a drawn answer: enough for a guess to reach beyond the two that are compared."""
_PLACES = 64
"""Places at which the engine's own error is measured."""


@runtime_checkable
class Weighs(Protocol):
    """An open engine that can tell how probable it finds the next token."""

    def next_logprobs(self, texts: Sequence[list[int]], most: int) -> list[dict[int, float]]:
        """Return the log-probabilities of at least the ``most`` best tokens after each text."""
        ...


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first place where two greedy answers to one prompt differ."""

    prompt: int
    place: int
    """How many new tokens were equal before it."""
    plain: int
    fast: int
    margin: float | None
    """How far the plain engine prefers its own token (a difference of logits); None: unknown."""
    tie: bool
    """Whether the margin is smaller than the engine's own error."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found; ``lossless`` is the verdict."""

    accelerators: tuple[str, ...]
    engine: str
    prompts: int
    tokens: int
    """New tokens compared."""
    identical: int
    """Prompts whose greedy answers are the same to the last token."""
    mismatches: list[Mismatch]
    own_error: float | None
    """How far the plain engine's margins move with the company; None: it cannot tell."""
    draws: int
    p_value: float | None
    """How often equal distributions differ this much; None: too little was drawn to tell."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the engine counted, ``target_steps`` and ``plain_steps`` among it where it guesses."""

    @property
    def lossless(self) -> bool:
        """Say whether every mismatch is a tie and the draws are from the same distribution."""
        same_law = self.p_value is None or self.p_value >= ALPHA
        return same_law and all(one.tie for one in self.mismatches)

    @property
    def saved(self) -> int | None:
        """Return how many steps of the model were saved (less than none: added)."""
        if "target_steps" not in self.counts:
            return None
        return self.counts["plain_steps"] - self.counts["target_steps"]

    def facts(self) -> dict[str, Any]:
        """Return the proof as JSON, verdict included."""
        return {
            "accelerators": list(self.accelerators),
            "engine": self.engine,
            "lossless": self.lossless,
            "prompts": self.prompts,
            "tokens": self.tokens,
            "identical": self.identical,
            "mismatches": [
                {
                    "prompt": one.prompt, "place": one.place, "plain": one.plain, "fast": one.fast,
                    "margin": one.margin, "tie": one.tie,
                }
                for one in self.mismatches
            ],
            "own_error": self.own_error,
            "draws": self.draws,
            "p_value": self.p_value,
            "steps_saved": self.saved,
            "counts": self.counts,
            "says": self.sentence(),
        }  # fmt: skip

    def sentence(self) -> str:
        """Return the verdict in words."""
        name = ", ".join(self.accelerators)
        if self.lossless:
            return f"{name} changes no answer: {self._equal()}; {self._law()}. {self._steps()}"
        return f"{name} CHANGES answers: {self._equal()}; {self._law()}. {self._steps()}"

    def _equal(self) -> str:
        ties = sum(one.tie for one in self.mismatches)
        told = f"{self.identical} of {self.prompts} greedy answers are the same"
        if not self.mismatches:
            return told
        real = len(self.mismatches) - ties
        return f"{told}, {ties} differ at a tie, {real} differ where there is none"

    def _law(self) -> str:
        if self.p_value is None:
            return "too little was drawn to compare" if self.draws else "nothing was drawn"
        word = "from the same distribution" if self.p_value >= ALPHA else "from ANOTHER one"
        return f"{self.draws} draws are {word} (p = {self.p_value:.3g})"

    def _steps(self) -> str:
        if self.saved is None:
            return "It says nothing of steps."
        plain, target = self.counts["plain_steps"], self.counts["target_steps"]
        if self.saved <= 0:
            return f"It saved no step on these prompts: {target} instead of {plain}."
        return f"It took {target} steps of the model instead of {plain}."


def prove(
    engine: Engine,
    accelerators: Sequence[Accelerator],
    model: Path,
    prompts: Sequence[list[int]],
    stops: tuple[int, ...],
    new: int = 64,
    draws: int = 300,
    seed: int = 0,
) -> Proof:
    """Compare the engine with and without the accelerators, on a model folder.

    ``prompts`` are token ids; ``draws`` answers are drawn to each of the first three. Raises what
    `with_accelerators` and the engine raise.
    """
    fast = with_accelerators(engine, accelerators)
    with engine.open(model) as opened:
        plain = _Answers.of(opened, prompts, stops, new, draws, seed, part=0)
        error = _own_error(opened, prompts, plain.greedy)
        with fast.open(model) as quick:
            other = _Answers.of(quick, prompts, stops, new, draws, seed, part=1)
        mismatches = [
            mismatch_of(opened, row, prompt, ours.ids, theirs.ids, error)
            for row, (prompt, ours, theirs) in enumerate(
                zip(prompts, plain.greedy, other.greedy, strict=True)
            )
            if ours.ids != theirs.ids
        ]
    return Proof(
        accelerators=tuple(one.name for one in accelerators),
        engine=engine.name,
        prompts=len(prompts),
        tokens=sum(len(answer.ids) for answer in plain.greedy),
        identical=len(prompts) - len(mismatches),
        mismatches=mismatches,
        own_error=error,
        draws=sum(map(len, plain.drawn)),
        p_value=same_law(plain.drawn, other.drawn),
        counts=other.counts,
    )


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one engine said: greedily, and drawn."""

    greedy: list[Completion]
    drawn: list[list[tuple[int, ...]]]
    """The first two tokens of every draw, prompt by prompt."""
    counts: dict[str, int]
    """What it took for the greedy answers."""

    @classmethod
    def of(
        cls,
        opened: OpenEngine,
        prompts: Sequence[list[int]],
        stops: tuple[int, ...],
        new: int,
        draws: int,
        seed: int,
        part: int,
    ) -> _Answers:
        from tunesmith.plugins import build

        how = Generation(build(Sampler, "greedy"), new, [0] * len(prompts), stops)
        greedy = opened.generate(prompts, how)
        counts = dict(sorted(Counter(getattr(opened, "counts", {})).items()))
        drawn = []
        for row, prompt in enumerate(prompts[:3] if draws else []):
            # With and without share no seed, or equal answers would prove nothing of the law.
            first = (2 * row + part) * draws
            seeds = [row_seed(seed, first + at) for at in range(draws)]
            how = Generation(build(Sampler, "random"), _DRAWN, seeds, stops)
            answers = opened.generate([prompt] * draws, how)
            drawn.append([tuple(answer.ids[:2]) for answer in answers])
        return cls(greedy, drawn, counts)


def _own_error(
    opened: OpenEngine, prompts: Sequence[list[int]], answers: Sequence[Completion]
) -> float | None:
    """Return how far the margins of the best tokens move between company and alone."""
    if not isinstance(opened, Weighs):
        return None
    texts = [
        [*prompt, *answer.ids[:place]]
        for prompt, answer in zip(prompts, answers, strict=True)
        for place in (0, len(answer.ids) // 2, len(answer.ids) - 1)
    ][:_PLACES]
    together = opened.next_logprobs(texts, 8)
    alone = [opened.next_logprobs([text], 8)[0] for text in texts]
    return max(_moved(one, other) for one, other in zip(together, alone, strict=True))


def _moved(one: dict[int, float], other: dict[int, float]) -> float:
    best = max(one, key=lambda token: one[token])
    if best not in other:
        return 0.0
    shared = [token for token in one if token in other]
    return max(abs((one[best] - one[token]) - (other[best] - other[token])) for token in shared)


def mismatch_of(
    opened: OpenEngine,
    row: int,
    prompt: list[int],
    ours: list[int],
    theirs: list[int],
    error: float | None,
) -> Mismatch:
    """Return the first place where two answers to a prompt differ, as ``opened`` sees it.

    It is a tie where ``opened`` prefers its own token by no more than ``error``.
    """
    shorter = min(len(ours), len(theirs))
    place = next((at for at in range(shorter) if ours[at] != theirs[at]), shorter)
    if place == shorter:  # one ends where the other goes on: no pair of tokens to weigh
        return Mismatch(row, place, _at(ours, place), _at(theirs, place), None, tie=False)
    margin = _margin(opened, [*prompt, *ours[:place]], ours[place], theirs[place])
    tie = margin is not None and error is not None and abs(margin) <= error
    return Mismatch(row, place, ours[place], theirs[place], margin, tie)


def _at(ids: list[int], place: int) -> int:
    return ids[place] if place < len(ids) else -1


def _margin(opened: OpenEngine, text: list[int], mine: int, other: int) -> float | None:
    if not isinstance(opened, Weighs):
        return None
    found = opened.next_logprobs([text], 64)[0]
    if mine not in found or other not in found:
        return None
    return found[mine] - found[other]


def same_law(
    ours: Sequence[Sequence[tuple[int, ...]]], theirs: Sequence[Sequence[tuple[int, ...]]]
) -> float | None:
    """Return the p-value of a chi-square test of homogeneity, over all prompts together.

    A pair of tokens that too few of both hold counts by its first token alone, and where that is
    rare too, by the remainder of its number: a law that is nearly flat is tested all the same. None
    when nothing was drawn, or too little to compare.
    """
    statistic, freedom = 0.0, 0
    for one, other in zip(ours, theirs, strict=True):
        cells = _cells(one, other)
        statistic, freedom = statistic + _chi_square(cells), freedom + max(len(cells) - 1, 0)
    if freedom:
        return _upper_tail(statistic, freedom)
    outcomes = {draw for one in (*ours, *theirs) for draw in one}
    return 1.0 if len(outcomes) == 1 else None


_FULL = 10
"""Draws that a cell of the test needs."""


def _pair(draw: tuple[int, ...]) -> tuple[int, ...]:
    return draw


def _first(draw: tuple[int, ...]) -> tuple[int, ...]:
    return draw[:1]


def _remainder(draw: tuple[int, ...]) -> tuple[int, ...]:
    return (draw[0] % 16,) if draw else ()


_NAMES = (_pair, _first, _remainder)
"""What a draw is counted by, as long as enough others have the same name."""


def _cells(one: Sequence[Any], other: Sequence[Any]) -> list[tuple[int, int]]:
    """Return how many draws of each side fall into each cell."""
    left, right = list(one), list(other)
    cells: list[tuple[int, int]] = []
    names: tuple[Callable[[Any], Any], ...] = (
        lambda draw: draw,
        lambda draw: draw[:1],
        lambda draw: draw[0] % 16 if draw else 0,
    )
    for name in names:
        mine, theirs = Counter(map(name, left)), Counter(map(name, right))
        full = sorted(key for key, count in (mine + theirs).items() if count >= _FULL)
        cells += [(mine[key], theirs[key]) for key in full]
        left = [draw for draw in left if name(draw) not in full]
        right = [draw for draw in right if name(draw) not in full]
    rest = len(left), len(right)
    return [*cells, rest] if sum(rest) >= _FULL else cells


def _chi_square(cells: list[tuple[int, int]]) -> float:
    mine, theirs = sum(a for a, _ in cells), sum(b for _, b in cells)
    if not mine or not theirs:
        return 0.0
    share = mine / (mine + theirs)
    statistic = 0.0
    for a, b in cells:
        meant = share * (a + b), (1 - share) * (a + b)
        statistic += (a - meant[0]) ** 2 / meant[0] + (b - meant[1]) ** 2 / meant[1]
    return statistic


def _upper_tail(statistic: float, freedom: int) -> float:
    import torch

    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    found = float(torch.special.gammaincc(half[0], half[1]))
    return found if math.isfinite(found) else 0.0
