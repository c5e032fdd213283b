"""The handful of numbers that stand on top of the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tunesmith.report import words
from tunesmith.report.facts import EvidenceFacts, RewardFacts, RunFacts


@dataclass(frozen=True, slots=True)
class Tile:
    """One number with what it is and what belongs to it."""

    what: str
    value: str
    note: str = ""


def tiles(facts: RunFacts) -> list[Tile]:
    """Return the numbers this run has."""
    return list(_found(facts))


def _found(facts: RunFacts) -> Iterator[Tile]:
    if facts.evidence:
        yield from _wins(facts.evidence)
    if facts.reward:
        yield from _reward(facts.reward)
    if facts.evidence:
        yield from _size(facts.evidence)
        yield from _gates(facts.evidence)
    yield _time(facts)


def _wins(evidence: EvidenceFacts) -> Iterator[Tile]:
    for one in evidence.wins():
        against = f"{words.model(one.model)} against {words.model(one.name.partition(':')[2])}"
        note = f"{words.share_interval(one.low, one.high)} {against}, {one.n:,} prompts"
        yield Tile("Win rate", words.percent(one.value), note)


def _reward(reward: RewardFacts) -> Iterator[Tile]:
    if reward.rule is not None:
        yield Tile("Reward", "a rule", f"tried on {words.count(reward.rule.rows, 'prompt')}")
        return
    note = words.share_interval(reward.accuracy.low, reward.accuracy.high)
    if reward.ratio.n:
        note += f" {words.percent(reward.ratio.value, 0)} of the annotators' ceiling"
    yield Tile("Reward accuracy", words.percent(reward.accuracy.value), note)


def _size(evidence: EvidenceFacts) -> Iterator[Tile]:
    small = next((one for one in evidence.footprints if one.model == "quantized"), None)
    if small:
        note = f"{words.percent(small.bits_per_weight / 32, 0)} of 32 bits, on {small.engine}"
        yield Tile("Quantized size", words.size(small.bytes), note)


def _gates(evidence: EvidenceFacts) -> Iterator[Tile]:
    if evidence.verdicts:
        passed = sum(one.passed for one in evidence.verdicts)
        total = len(evidence.verdicts)
        note = "all passed" if passed == total else f"{total - passed} not passed"
        yield Tile("Gates", f"{passed} of {total}", note)


def _time(facts: RunFacts) -> Tile:
    cached = sum(stage.cached for stage in facts.stages)
    done = sum(stage.status == "COMPLETED" for stage in facts.stages) - cached
    note = f"{words.count(done, 'stage')} worked" + (f", {cached} cached" if cached else "")
    so_far = "" if facts.finished_at else " so far"
    return Tile("Time", words.duration(facts.seconds), note + so_far)
