"""What models say to the same few prompts, before and after a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith import Engine, Row, Sampler, plugins
from tunesmith_flows import answering
from tunesmith_flows.bench import Bench, write_json_lines

PROMPTS = 10
REFERENCE = "transformers"


def before_and_after(bench: Bench, before: Path | None, after: str) -> None:
    """Answer the sample prompts greedily with both models and keep what they said.

    It is shown with the run and stored in the model's folder as ``before_after.jsonl``.
    """
    rows = sample_rows(bench.rows("test") or bench.rows("validation"))
    told: list[dict[str, Any]] = []
    if before is not None:
        told += _answers(bench, before, bench.model_name(), rows)
    told += _answers(bench, bench.out, after, rows)
    for variant in dict.fromkeys(sample["variant"] for sample in told):
        bench.show_samples(variant, [s for s in told if s["variant"] == variant])
    write_json_lines(bench.out / "before_after.jsonl", told)


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
