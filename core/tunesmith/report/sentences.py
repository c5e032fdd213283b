"""The run in a few sentences, each of which a number in the report stands behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.evidence.measurements import Measurement
from tunesmith.report import words
from tunesmith.report.facts import ChoiceFacts, EvidenceFacts, RewardFacts, RunFacts

VERBS = {"tuned": "Fine-tuning", "aligned": "Alignment", "quantized": "Quantization"}


def headlines(facts: RunFacts) -> list[str]:
    """Return what a reader should know who reads nothing else."""
    found = list(_found(facts))
    return found or [f"There are no results yet: {how_far(facts)}."]


def _found(facts: RunFacts) -> Iterator[str]:
    if facts.choice:
        yield _chosen(facts.choice)
    if facts.evidence:
        yield from _comparisons(facts.evidence)
        yield from (_won(one, facts.evidence) for one in facts.evidence.wins() if one.n)
        yield from _smaller(facts.evidence)
    if facts.reward:
        yield _reward(facts.reward)
    if facts.evidence and facts.evidence.verdicts:
        yield _gates(facts.evidence)
    if facts.release:
        yield f"Released as {facts.release.get('model')} version {facts.release.get('version')}."


def _chosen(choice: ChoiceFacts) -> str:
    tried = words.count(len(choice.trials), "combination")
    kept = sum(trial.within(choice.budget) for trial in choice.trials)
    return (
        f"Of {tried}, {kept} within the budget of {100 * choice.budget:g} points, the best in"
        f" {choice.target} was taken: {choice.chosen}."
    )


def how_far(facts: RunFacts) -> str:
    """Say which stages are done: ``it got as far as tune (2 of 9 stages)``."""
    done = [stage.name for stage in facts.stages if stage.status == "COMPLETED"]
    if not done:
        return "no stage has been completed"
    return f"it got as far as {done[-1]} ({len(done)} of {len(facts.stages)} stages)"


def _comparisons(evidence: EvidenceFacts) -> Iterator[str]:
    """Yield one sentence per pair of models that were asked the same items."""
    for (model, baseline), every in evidence.comparisons().items():
        found = [m for m in every if m.finite]
        # The same weights on another engine: the table has it, and no reader asks for it first.
        if found and "@" not in model:
            yield _comparison(model, baseline, found)


def _comparison(model: str, baseline: str, found: Sequence[Measurement]) -> str:
    better = [m for m in found if m.significance() == "significantly better"]
    worse = [m for m in found if m.significance() == "significantly worse"]
    what = f"{VERBS.get(model, model.capitalize())}, against {words.model(baseline)}"
    exams = words.count(len(found), "exam")
    if not better and not worse:
        return f"{what}: no significant difference on {exams}."
    told = []
    if better:
        most = max(better, key=lambda m: m.value)
        gain = f"most on {words.name(most.name)}: {words.points(most)} points"
        told.append(f"significantly better on {len(better)} of {exams} ({gain})")
    if worse:
        names = words.listed([f"{words.name(m.name)} {words.points(m)}" for m in worse])
        told.append(f"significantly worse on {len(worse)} of {exams} ({names})")
    return f"{what}: {', '.join(told)}."


def _won(one: Measurement, evidence: EvidenceFacts) -> str:
    baseline = words.model(one.name.partition(":")[2])
    return (
        f"The {words.model(one.model)} model wins {words.percent(one.value)}"
        f" {words.share_interval(one.low, one.high)} of {one.n:,} comparisons with the {baseline}"
        f" model, {against_half(one)}."
    )


def against_half(one: Measurement) -> str:
    """Say whether a win rate differs from a coin's."""
    if one.low > 0.5:
        return "significantly more than half"
    if one.high < 0.5:
        return "significantly less than half"
    return "which is not significantly different from half"


def _smaller(evidence: EvidenceFacts) -> Iterator[str]:
    prints = {one.model: one for one in evidence.footprints}
    small = prints.get("quantized")
    if small:
        yield (
            f"The quantized model takes {words.size(small.bytes)},"
            f" {words.percent(small.bits_per_weight / 32, 0)} of its size in 32 bits."
        )


def _reward(reward: RewardFacts) -> str:
    if reward.rule is not None:
        said = "" if reward.verdict.passed else " that did not pass its gate"
        return f"The reward is a rule{said}: {reward.verdict.reason}."
    if reward.verdict.passed:
        return f"Reward model: {reward.verdict.reason}."
    return f"The reward model did not pass its gate: {reward.verdict.reason}."


def _gates(evidence: EvidenceFacts) -> str:
    failed = [verdict.gate for verdict in evidence.verdicts if not verdict.passed]
    total = len(evidence.verdicts)
    if failed:
        return f"{len(failed)} of {words.count(total, 'gate')} not passed: {words.listed(failed)}."
    return (
        "The evidence passed its gate." if total == 1 else f"The evidence passed all {total} gates."
    )


def against_parent(evidence: EvidenceFacts, model: str) -> str:
    """Say in a few words how a model compares with its parent over all exams."""
    found = [m for m in evidence.differences() if m.model == model and m.finite]
    if not found:
        return ""
    said = [m.significance() for m in found]
    counts = {word: said.count(f"significantly {word}") for word in ("better", "worse")}
    told = [f"{count} significantly {word}" for word, count in counts.items() if count]
    rest = len(found) - sum(counts.values())
    told += [f"{rest} not significant"] if rest else []
    return f"{', '.join(told)} (against {words.model(str(found[0].baseline))})"
