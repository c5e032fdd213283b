"""Learn to score answers as the annotators would, and show how well that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tunesmith import Outcome, RewardModel, TrainingJob, plugins
from tunesmith.evidence.measurements import Verdict
from tunesmith.promises import returned, scoring
from tunesmith_flows import staging
from tunesmith_flows.bench import Bench, write_json
from tunesmith_flows.judgements import preferences
from tunesmith_flows.tasks import stage_task


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


def headline(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card's leading numbers."""
    return {
        "accuracy": card["accuracy"]["value"],
        "ceiling": card["ceiling"]["estimate"]["value"],
        "of_ceiling": card["ratio"]["value"],
        "calibration_error": card["calibration_error"],
        "held_out_pairs": card["pairs"],
    }
