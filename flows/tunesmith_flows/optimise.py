"""Make the newest model small and fast, in one way or in the best of several."""

from __future__ import annotations

from tunesmith import Outcome
from tunesmith_flows import staging, trials
from tunesmith_flows.bench import Bench
from tunesmith_flows.combining import Made, make
from tunesmith_flows.tasks import stage_task


@stage_task(name="optimise")
def optimise(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the quantized model."""
    return staging.staged("optimise", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Write the combination that is asked for, or chosen, and a report of what it weighs."""
    from tunesmith.adapted import refuse_adapted

    section = bench.config.optimise
    refuse_adapted(bench.model(), "optimise makes a model smaller")
    made = [make(bench, path, one) for path, one in section.combinations.items()]
    chosen, outcome = trials.choose(bench, made) if section.choose else (made[0], Outcome())
    chosen.move_to(bench.out)
    outcome.metrics |= chosen.metrics
    outcome.timings |= _timings(made)
    return outcome


def _timings(made: list[Made]) -> dict[str, float]:
    """Return the seconds and speeds of every combination; one alone needs no name before them."""
    if len(made) == 1:
        return made[0].timings
    named = ((one.combination.label, one.timings) for one in made)
    return {f"{label}/{key}": value for label, spent in named for key, value in spent.items()}
