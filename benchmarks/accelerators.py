"""What the output-preserving techniques save, on the tuned nano and its own tasks.

    python benchmarks/accelerators.py [--model FOLDER] [--rounds 5] [--json]

Without `--model` the demo's model is tuned first (examples/nano/lifecycle.yaml, until `tune`).

Speculation: every task's prompts are answered greedily one at a time, plain, with prompt lookup and
with `builtin:nano-draft`, in turns; a ratio is plain seconds over the technique's, the median of
the rounds. Answers must be the same, or the script fails. Prefix cache: the time to the first token
of prompts that share 512 tokens, over that of prompts that share none.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from tunesmith import Accelerator, DatasetSource, Engine, Generation, OpenEngine, Quantizer, Sampler
from tunesmith.chat import encode_prompt, stop_ids
from tunesmith.generation.accelerate import with_accelerators
from tunesmith.models import load_tokenizer
from tunesmith.plugins import build

ROOT = Path(__file__).parents[1]
LOOKUP: dict[str, Any] = {"name": "speculative_prompt_lookup"}
DRAFT: dict[str, Any] = {"name": "speculative_draft_model", "model": "builtin:nano-draft"}
WAYS = {"plain": [], "prompt lookup": [LOOKUP], "draft model": [DRAFT]}
SHARED, OWN = 512, 16
"""Tokens that the prompts of the prefix cache have in common, and to themselves."""
Prompts = list[list[int]]


def tuned(home: Path) -> Path:
    """Return the demo's tuned model, made in ``home``."""
    command = [sys.executable, "-m", "tunesmith.cli", "run", "--json", "--until", "tune"]
    environment = {**os.environ, "TUNESMITH_HOME": str(home)}
    config = str(ROOT / "examples/nano/lifecycle.yaml")
    done = subprocess.run(
        [*command, config], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return home / "artifacts" / str(json.loads(done.stdout)["artifacts"]["tune"])


def prompts_by_task(model: Path, count: int) -> dict[str, Prompts]:
    """Return test prompts of every task of the nano world, as token ids."""
    tokenizer = load_tokenizer(model)
    source = build(
        DatasetSource, {"name": "nano", "train": 0, "validation": 0, "prompts": 0, "test": count}
    )
    found: dict[str, Prompts] = defaultdict(list)
    for row in source.rows():
        found[row["task"]].append(encode_prompt(tokenizer, row["prompt"]))
    return dict(found)


def answer(opened: OpenEngine, prompts: Prompts, new: int, stops: Sequence[int]) -> list[list[int]]:
    """Return the greedy answers, asked one at a time as one reader would."""
    how = Generation(build(Sampler, "greedy"), new, range(1), tuple(stops))
    return [opened.generate([prompt], how)[0].ids for prompt in prompts]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that work took, and what it returned."""
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def speculation(
    engine: Engine, folder: Path, asked: dict[str, Prompts], stops: Sequence[int], rounds: int
) -> Iterator[dict[str, Any]]:
    """Yield a row per task and technique: plain seconds over its own, and the steps saved."""
    with ExitStack() as stack:
        opened = {
            way: stack.enter_context(
                with_accelerators(engine, [build(Accelerator, spec) for spec in specs]).open(folder)
            )
            for way, specs in WAYS.items()
        }
        for task, prompts in asked.items():
            yield from _one_task(engine.name, task, opened, prompts, stops, rounds)


def _one_task(
    engine: str,
    task: str,
    opened: dict[str, OpenEngine],
    prompts: Prompts,
    stops: Sequence[int],
    rounds: int,
) -> Iterator[dict[str, Any]]:
    seconds: dict[str, list[float]] = defaultdict(list)
    said: dict[str, Any] = {}
    before = {way: dict(one.counts) for way, one in opened.items()}  # type: ignore[attr-defined]
    for turn in range(rounds + 1):
        for way, one in opened.items():
            spent, said[way] = timed(lambda one=one: answer(one, prompts, 96, stops))
            if turn:  # the first round warms up
                seconds[way].append(spent)
        if any(answers != said["plain"] for answers in said.values()):
            raise SystemExit(f"{task} on {engine}: a technique changed an answer")
    for way, one in opened.items():
        counts = {
            key: one.counts[key] - before[way].get(key, 0)  # type: ignore[attr-defined]
            for key in ("plain_steps", "target_steps")
        }
        pairs = zip(seconds["plain"], seconds[way], strict=True)
        yield {
            "engine": engine,
            "task": task,
            "technique": way,
            "speedup": statistics.median(plain / own for plain, own in pairs),
            "tokens_per_second": sum(map(len, said[way])) / statistics.median(seconds[way]),
            "steps": counts["target_steps"] / max(1, counts["plain_steps"]),
        }


def prefix_cache(folder: Path, vocabulary: int, rounds: int) -> dict[str, Any]:
    """Return the median ratio of the times to a first token, with a shared prefix and without."""
    engine = build(Engine, {"name": "llamacpp", "parallel": 1})
    cached = with_accelerators(engine, [build(Accelerator, "prefix_cache")])
    rng = Random(0)

    def words(count: int) -> list[int]:
        return [rng.randrange(300, vocabulary) for _ in range(count)]

    ratios = []
    with engine.open(folder) as plain, cached.open(folder) as quick:
        for _ in range(rounds):
            shared = words(SHARED)
            answer(quick, [shared + words(OWN)], 1, ())  # whoever comes first pays for all
            first = shared + words(OWN)
            cold, one = timed(lambda first=first: answer(plain, [first], 1, ()))
            warm, other = timed(lambda first=first: answer(quick, [first], 1, ()))
            if one != other:
                raise SystemExit("prefix_cache changed an answer")
            ratios.append(warm / cold)
    return {"technique": "prefix cache", "ratio": statistics.median(ratios), "rounds": rounds}


def measured(model: Path, count: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield every row, for both engines."""
    tokenizer = load_tokenizer(model)
    stops = stop_ids(tokenizer, model)
    asked = prompts_by_task(model, count)
    with tempfile.TemporaryDirectory(prefix="tunesmith-gguf-") as scratch:
        small = Path(scratch)
        build(Quantizer, {"name": "gguf", "type": "q8_0"}).quantize(model, small)
        alone = build(Engine, {"name": "llamacpp", "parallel": 1})
        yield from speculation(alone, small, asked, stops, rounds)
        yield from speculation(build(Engine, "transformers"), model, asked, stops, rounds)
        yield prefix_cache(small, len(tokenizer), 4 * rounds)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a tuned nano's folder")
    parser.add_argument("--items", type=int, default=12, help="prompts per task")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunesmith-tuned-") as scratch:
        model = given.model or tuned(Path(scratch))
        found = []
        for row in measured(model, given.items, given.rounds):
            found.append(row)
            if not given.json:
                print(line(row), flush=True)
    if given.json:
        print(json.dumps(found, indent=1))


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    if "ratio" in row:
        told = f"{row['ratio']:.2f} x the time to a first token without"
        return f"prefix cache, {SHARED} tokens shared: {told}"
    return (
        f"{row['engine']:13}{row['task']:22}{row['technique']:15}"
        f"{row['tokens_per_second']:8.0f} tokens/s {row['speedup']:6.2f} x"
        f"  {row['steps']:.2f} steps per token"
    )


if __name__ == "__main__":
    main()
