"""What models say to the same few prompts, before and after a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith import Engine, Row, Sampler, plugins, stages
from tunesmith_flows import answering
from tunesmith_flows.bench import Bench, read_json_lines, write_json_lines

PROMPTS = 10
FILE = "before_after.jsonl"
REFERENCE = "transformers"


def before_and_after(bench: Bench, before: Path | None, after: str) -> None:
    """Keep what two models say greedily to the sample prompts: the one before, and the new one.

    It is shown with the run and stored in the new model's folder as ``before_after.jsonl``, where
    the next stage finds what it would otherwise have to ask again.
    """
    rows = sample_rows(bench.rows("test") or bench.rows("validation"))
    told: list[dict[str, Any]] = []
    if before is not None:
        told += _said_before(bench) or _answers(bench, before, bench.model_name(), rows)
    told += _answers(bench, bench.out, after, rows)
    for variant in dict.fromkeys(sample["variant"] for sample in told):
        bench.show_samples(variant, [s for s in told if s["variant"] == variant])
    write_json_lines(bench.out / FILE, told)


def _said_before(bench: Bench) -> list[dict[str, Any]]:
    """Return what the stage that made the model noted down; the prompts are the same."""
    newest = stages.last_model(bench.inputs)
    path = bench.inputs[newest].path / FILE if newest else None
    noted = read_json_lines(path) if path and path.is_file() else []
    return [sample for sample in noted if sample["variant"] == bench.model_name()]


def sample_rows(rows: list[Row]) -> list[Row]:
    """Return the first rows of every task in turn, at most ten."""
    groups = [[rows[place] for place in places] for places in answering.by_task(rows).values()]
    longest = max(map(len, groups), default=0)
    turns = [group[turn] for turn in range(longest) for group in groups if turn < len(group)]
    return turns[:PROMPTS]


def _answers(bench: Bench, model: Path, variant: str, rows: list[Row]) -> list[dict[str, Any]]:
    if not rows:
        return []
    bench.report({"doing": f"samples of the {variant} model"})
    greedy = plugins.build(Sampler, "greedy")
    with answering.speaker(plugins.build(Engine, REFERENCE), model) as voice:
        done = answering.answer_rows(bench, voice, rows, greedy, bench.seed)
    return [
        {
            "variant": variant,
            "item": row["id"],
            "task": row.get("task", ""),
            "prompt": answering.last_words(row),
            "answer": completion.text,
            "finish": completion.finish,
            "reference": row.get("reference", {}),
        }
        for row, completion in zip(rows, done, strict=True)
    ]
