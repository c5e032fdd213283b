"""Align the tuned model, with a reward model's scores or with the preferences themselves."""

from __future__ import annotations

from tunesmith import (
    DataError,
    Outcome,
    RewardModel,
    Row,
    Scorer,
    TrainingJob,
    TrainingMethod,
    plugins,
    stages,
)
from tunesmith.errors import GateRefused
from tunesmith.promises import returned, scoring
from tunesmith.techniques import Adapter
from tunesmith_flows import answering, samples, staging
from tunesmith_flows.bench import Bench
from tunesmith_flows.judgements import preferences
from tunesmith_flows.tasks import stage_task


@stage_task(name="align")
def align(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the aligned model."""
    return staging.staged("align", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Train, and let the model answer the sample prompts before and after."""
    section = bench.config.align
    reward = scorer(bench)
    adapter = plugins.build(Adapter, section.adapter) if section.adapter else None
    method = plugins.build(TrainingMethod, section.method)
    outcome = method.train(
        TrainingJob(
            rows=lesson(bench, method),
            model_dir=bench.model(),
            adapter=adapter,
            reward=reward,
            out=bench.out,
            work=bench.work,
            seed=bench.seed,
            report=bench.report,
            should_stop=bench.should_stop,
        )
    )
    outcome = returned(method, "train", outcome, Outcome)
    samples.before_and_after(bench, before=bench.model(), after="aligned")
    return outcome


def lesson(bench: Bench, method: TrainingMethod) -> list[Row]:
    """Return labelled answers for a method that learns from them, else prompts to try out."""
    from tunesmith.preferences import unpaired
    from tunesmith.rows import canonical

    if "collect" in bench.inputs:
        pairs = preferences(bench)
        alone = canonical(method.rows_type) == "unpaired-preference"
        return unpaired(pairs) if alone else pairs
    section, tasks = bench.config.align, stages.tried_tasks(bench.config)
    chosen = answering.choose(bench.rows("prompts"), tasks, section.prompts, bench.seed)
    if not chosen:
        raise DataError(
            f"The split `prompts` has no rows of the tasks {', '.join(tasks) or '(any)'}. Give"
            " data.split.prompts a share, or name other tasks in align.tasks."
        )
    return chosen


def scorer(bench: Bench) -> Scorer | None:
    """Open the reward model, which must have passed its own gate; None when none is asked for."""
    judge = bench.inputs.get("reward")
    if judge is None:
        return None
    if not judge.metrics["passed"]:
        raise GateRefused(
            f"The reward may not train a policy: {judge.metrics['verdict']}."
            " Change `reward`, or collect more labels; its card is stored with the run."
        )
    model = plugins.build(RewardModel, bench.config.reward.model)
    return scoring(model, model.open(judge.path))
