"""Learn to score answers as the annotators would, or take a rule; show how well that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tunesmith import DataError, Outcome, RewardModel, TrainingJob, plugins, stages
from tunesmith.evidence.measurements import Verdict
from tunesmith.promises import returned, scoring
from tunesmith_flows import answering, staging
from tunesmith_flows.bench import Bench, write_json
from tunesmith_flows.judgements import preferences
from tunesmith_flows.tasks import stage_task

TRIED = 400
"""Prompts that a rule is tried on, at most."""


@stage_task(name="reward")
def reward(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the reward model."""
    return staging.staged("reward", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Fit on most of the pairs, write the card of the others and the gate's verdict.

    A model that does not pass is stored all the same, for its card says why; it is `align` that
    refuses to be trained by it.
    """
    from tunesmith.preferences import hold_out
    from tunesmith.reward_card import RewardGate, decide, reward_card

    section = bench.config.reward
    model = plugins.build(RewardModel, section.model)
    if not stages.learns_from_labels(model):
        return rule(bench, model)
    rows, held = hold_out(preferences(bench), section.holdout, bench.seed)
    outcome = model.fit(
        TrainingJob(
            rows=rows,
            eval_rows=held,
            model_dir=bench.model(),
            out=bench.out,
            work=bench.work,
            seed=bench.seed,
            report=bench.report,
            should_stop=bench.should_stop,
        )
    )
    outcome = returned(model, "fit", outcome, Outcome)
    bench.report({"doing": f"scoring {len(held)} held-out pairs"})
    measured = reward_card(scoring(model, model.open(bench.out)), held, bench.seed)
    gate = section.gate.model_dump() if section.gate else None
    verdict = (
        decide(measured, RewardGate(**gate))
        if gate
        else Verdict("reward model", True, "no gate was asked for")
    )
    card = measured.record()
    beside = {"gate": gate, "train_pairs": len(rows), "verdict": asdict(verdict)}
    write_json(bench.out / "card.json", card | beside)
    outcome.metrics |= headline(card) | {"passed": verdict.passed, "verdict": verdict.reason}
    return outcome


def rule(bench: Bench, model: RewardModel) -> Outcome:
    """Take a rule, which learns from no label, and try it on the prompts that it will reward."""
    from tunesmith.rule_card import decide_rule, rule_card

    tasks = stages.tried_tasks(bench.config)
    rows = answering.choose(bench.rows("prompts"), tasks, TRIED, bench.seed)
    if not rows:
        raise DataError(
            f"{model.name} has no prompts to reward: the split `prompts` has no rows of the tasks"
            f" {', '.join(tasks) or '(any)'}. Give data.split.prompts a share, or name other tasks."
        )
    job = TrainingJob(rows=rows, out=bench.out, work=bench.work, seed=bench.seed)
    outcome = returned(model, "fit", model.fit(job), Outcome)
    bench.report({"doing": f"trying the rule on {len(rows)} prompts"})
    card = rule_card(scoring(model, model.open(bench.out)), rows)
    asked = bench.config.reward.gate is not None
    verdict = decide_rule(card) if asked else Verdict("reward rule", True, "no gate was asked for")
    write_json(bench.out / "card.json", card.record() | {"verdict": asdict(verdict)})
    outcome.metrics |= {"passed": verdict.passed, "verdict": verdict.reason, "prompts": len(rows)}
    return outcome


def headline(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card's leading numbers."""
    return {
        "accuracy": card["accuracy"]["value"],
        "ceiling": card["ceiling"]["estimate"]["value"],
        "of_ceiling": card["ratio"]["value"],
        "calibration_error": card["calibration_error"],
        "held_out_pairs": card["pairs"],
    }
