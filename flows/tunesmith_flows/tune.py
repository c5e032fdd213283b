"""Fine-tune the model on the prepared rows."""

from __future__ import annotations

from tunesmith import Outcome, TrainingJob, TrainingMethod, plugins
from tunesmith.promises import returned
from tunesmith.techniques import Adapter
from tunesmith_flows import samples, staging
from tunesmith_flows.bench import Bench
from tunesmith_flows.tasks import stage_task


@stage_task(name="tune")
def tune(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the tuned model."""
    return staging.staged("tune", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Train, and let the model answer the sample prompts before and after."""
    section = bench.config.tune
    method = plugins.build(TrainingMethod, section.method)
    adapter = plugins.build(Adapter, section.adapter) if section.adapter else None
    outcome = method.train(
        TrainingJob(
            rows=bench.rows("train"),
            eval_rows=bench.rows("validation"),
            model_dir=bench.base(),
            adapter=adapter,
            out=bench.out,
            work=bench.work,
            seed=bench.seed,
            report=bench.report,
            should_stop=bench.should_stop,
        )
    )
    outcome = returned(method, "train", outcome, Outcome)
    samples.before_and_after(bench, before=bench.base(), after="tuned")
    return outcome
