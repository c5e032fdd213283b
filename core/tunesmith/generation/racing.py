"""Several engines at the same work, in interleaved rounds: who is faster, and who says the same.

Rounds are interleaved because a shared machine's speed drifts: what is compared ran side by side.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.generation.answers import row_seed
from tunesmith.generation.proof import mismatch_of
from tunesmith.records import Generation, Spec
from tunesmith.techniques import OpenEngine, Sampler

TIE = 5e-4
"""A difference of log-probabilities below which two fp32 engines may prefer different tokens: 25
times what the supported ones were seen to differ by, a twentieth of what an f16 cache moves."""
_COMPARED_ROWS, _COMPARED_TOKENS = 8, 32


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of an engine at once."""

    streams: int = 8
    """Prompts that are answered together."""
    prompt: int = 64
    """Tokens of each prompt."""
    new: int = 64
    """New tokens of each answer."""
    sampler: Spec | str = "greedy"
    """How answers are drawn; engines differ in what drawing costs them."""

    def __post_init__(self) -> None:
        for name in ("streams", "prompt", "new"):
            if getattr(self, name) < 1:
                raise ConfigError(f"A workload's {name} must be at least 1.")

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        drawn = {"name": self.sampler} if isinstance(self.sampler, str) else dict(self.sampler)
        return {"streams": self.streams, "prompt": self.prompt, "new": self.new, "sampler": drawn}

    def check(self, context: int) -> None:
        """Raise ConfigError for what a model's context cannot hold."""
        if self.prompt + self.new > context:
            raise ConfigError(
                f"Prompts of {self.prompt} and answers of {self.new} tokens do not fit the model's"
                f" context of {context}. Lower one of them."
            )


def prompts(workload: Workload, vocabulary: int, rows: int | None = None) -> list[list[int]]:
    """Return prompts of random token ids, always the same ones; speed does not hang on meaning."""
    random = Random(0)
    count = workload.streams if rows is None else rows
    return [[random.randrange(vocabulary) for _ in range(workload.prompt)] for _ in range(count)]


def asked(workload: Workload) -> Generation:
    """Return the request that is timed; no token ends an answer."""
    from tunesmith.plugins import build

    seeds = [row_seed(0, row) for row in range(workload.streams)]
    sampler = build(Sampler, workload.sampler)
    return Generation(sampler, workload.new, seeds, (), batch_size=workload.streams)


def race(
    entrants: Mapping[str, OpenEngine], workload: Workload, vocabulary: int, rounds: int
) -> dict[str, list[float]]:
    """Return new tokens per second of each entrant, one number per round.

    Every entrant runs once unmeasured; the order turns by one from round to round.
    """
    work, how = prompts(workload, vocabulary), asked(workload)
    found: dict[str, list[float]] = {name: [] for name in entrants}
    names = list(entrants)
    for name in names:
        entrants[name].generate(work, how)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            answers = entrants[name].generate(work, how)
            seconds = time.perf_counter() - began
            found[name].append(sum(len(answer.ids) for answer in answers) / seconds)
    return found


def fastest(rates: Mapping[str, Sequence[float]]) -> str:
    """Return who is ahead by the median of its share of each round's best; the first of equals."""
    rounds = list(zip(*rates.values(), strict=True))
    shares = {
        name: statistics.median(rate / max(row) for rate, row in zip(own, rounds, strict=True))
        for name, own in rates.items()
    }
    return max(shares, key=lambda name: shares[name])


def disagreement(
    reference: OpenEngine, other: OpenEngine, workload: Workload, vocabulary: int
) -> str | None:
    """Return where greedy answers differ although the reference is sure; None: nowhere."""
    rows = max(workload.streams, _COMPARED_ROWS)
    work = prompts(workload, vocabulary, rows)
    greedy = replace(workload, sampler="greedy", new=min(workload.new, _COMPARED_TOKENS))
    how = replace(asked(greedy), seeds=[0] * rows, batch_size=rows)
    ours, theirs = reference.generate(work, how), other.generate(work, how)
    for row, (mine, its) in enumerate(zip(ours, theirs, strict=True)):
        if mine.ids == its.ids:
            continue
        found = mismatch_of(reference, row, work[row], mine.ids, its.ids, TIE)
        if not found.tie:
            margin = "more than it can tell" if found.margin is None else f"{found.margin:.2g}"
            return (
                f"answer {row} differs after {found.place} tokens, where the reference prefers its"
                f" own by {margin}"
            )
    return None
