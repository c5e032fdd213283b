"""Let the model answer prompts several times over, and choose which answers are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from random import Random
from typing import Any

from tunesmith import DataError, Engine, Outcome, Pair, PairSelector, Row, Sampler, plugins
from tunesmith.promises import two_places
from tunesmith_flows import answering, staging
from tunesmith_flows.bench import Bench, write_json_lines
from tunesmith_flows.tasks import stage_task

ATTEMPTS = 8
"""How often a selector is asked for a pair it has not chosen yet before a prompt has no more."""


@stage_task(name="respond")
def respond(run_id: str, made: dict[str, str]) -> str:
    """Return the id of the responses."""
    return staging.staged("respond", work, run_id, made)


def work(bench: Bench) -> Outcome:
    """Write every answer, and the pairs that are to be judged."""
    section = bench.config.respond
    prompts = answering.choose(bench.rows("prompts"), section.tasks, section.prompts, bench.seed)
    if not prompts:
        raise DataError(_no_prompts(bench))
    answers, timings = _answers(bench, prompts)
    responses = [_response(row, texts) for row, texts in zip(prompts, answers, strict=True)]
    selector = plugins.build(PairSelector, section.selector)
    pairs = list(choose_pairs(responses, selector, section.pairs, bench.seed))
    write_json_lines(bench.out / "responses.jsonl", responses)
    write_json_lines(bench.out / "pairs.jsonl", map(asdict, pairs))
    return Outcome(metrics={"prompts": len(prompts), "pairs": len(pairs)}, timings=timings)


def _answers(bench: Bench, prompts: Sequence[Row]) -> tuple[list[list[str]], dict[str, float]]:
    """Return ``respond.answers`` texts per prompt, each drawn from a seed of its own."""
    section = bench.config.respond
    times = section.answers
    asked = [row for row in prompts for _ in range(times)]
    sampler = plugins.build(Sampler, section.sampler)
    engine = plugins.build(Engine, section.engine)
    with answering.speaker(engine, bench.model(), scratch=bench.work / "on_engine") as voice:
        done = answering.answer_rows(bench, voice, asked, sampler, bench.seed)
    texts = [completion.text for completion in done]
    answers = [texts[i : i + times] for i in range(0, len(texts), times)]
    return answers, {"tokens_per_second": voice.speed()}


def _response(row: Row, answers: list[str]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "task": row.get("task", ""),
        "prompt": row["prompt"],
        "reference": row.get("reference", {}),
        "answers": answers,
    }


def choose_pairs(
    responses: Sequence[dict[str, Any]], selector: PairSelector, wanted: int, seed: int
) -> Iterator[Pair]:
    """Yield up to ``wanted`` pairs per prompt, none of them twice in either order."""
    seen: set[str] = set()
    for response in responses:
        rng, found = Random(f"{seed}/{response['id']}"), 0
        for _ in range(wanted * ATTEMPTS):
            answers = response["answers"]
            places = two_places(selector, selector.choose(answers, rng), len(answers))
            if places is None or found == wanted:
                break
            pair, mirrored = make_pair(response, *places), make_pair(response, *reversed(places))
            if pair.id not in seen:
                seen |= {pair.id, mirrored.id}
                found += 1
                yield pair


def make_pair(response: dict[str, Any], first: int, second: int) -> Pair:
    """Return the pair; its id depends on the prompt and the two texts alone."""
    texts = response["answers"][first], response["answers"][second]
    content = json.dumps([response["prompt"], *texts], sort_keys=True, ensure_ascii=False)
    return Pair(
        id=hashlib.sha256(content.encode()).hexdigest()[:16],
        task=response["task"],
        prompt=response["prompt"],
        first=texts[0],
        second=texts[1],
        reference=response["reference"],
    )


def _no_prompts(bench: Bench) -> str:
    rows = bench.rows("prompts")
    tasks = sorted({str(row.get("task", "")) for row in rows})
    return (
        f"respond.tasks asks for {', '.join(bench.config.respond.tasks)}, but the split `prompts`"
        f" has {len(rows)} rows of the tasks {', '.join(tasks) or 'none'}."
        " Give data.split.prompts a share, or name other tasks."
    )
