"""Prove each accelerator on the very model it is for; one that fails is switched off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith import Accelerator, Engine, Quantizer, plugins
from tunesmith.config import Combination
from tunesmith_flows.bench import Bench

NEW, DRAWS = 48, 200
"""Length of the compared answers, and answers drawn to each of three prompts."""


def proven(
    bench: Bench, combination: Combination, model: Path, tokenizer_from: Path
) -> list[dict[str, Any]]:
    """Return what was found of each accelerator of a combination, in its order.

    Each is proved together with those that passed before it, so that what ends up switched on has
    been proved as a whole. ``on`` says whether it stays.
    """
    from tunesmith.generation.accelerate import fits
    from tunesmith.generation.proof import prove
    from tunesmith.generation.proof_prompts import PROMPTS, asked_of

    engine = plugins.build(Engine, plugins.build(Quantizer, combination.quantizer).engine)
    wanted = [plugins.build(Accelerator, spec) for spec in combination.accelerators]
    wanted = [one for one in wanted if fits(engine, one)]
    if not wanted:
        return []
    prompts, stops = asked_of(model, PROMPTS, NEW, tokenizer_from)
    kept: list[Accelerator] = []
    found = []
    for one in wanted:
        bench.report({"doing": f"proving that {one.name} changes no answer"})
        proof = prove(engine, [*kept, one], model, prompts, stops, NEW, DRAWS, bench.seed)
        if proof.lossless:
            kept.append(one)
        else:
            bench.report({"doing": f"switched off {one.name}: {proof.sentence()}"})
        found.append({"name": one.name, "on": proof.lossless, **proof.facts()})
    return found


def still_on(report: dict[str, Any], wanted: list[Accelerator]) -> list[Accelerator]:
    """Return the accelerators whose proof in an optimise report did not fail."""
    verdicts = [one["on"] for one in report.get("accelerators", [])] or [True] * len(wanted)
    return [one for one, on in zip(wanted, verdicts, strict=True) if on]
