"""Answer conversations through an open engine: what every stage that samples calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.chat import Prompt, encode_prompt, stop_ids
from tunesmith.errors import ModelError, Stopped
from tunesmith.promises import completions
from tunesmith.records import Completion, Generation, Report
from tunesmith.techniques import Engine, OpenEngine, Sampler

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REFERENCE = "transformers"
"""The engine that runs every sampler."""


def answer_prompts(
    engine_open: OpenEngine,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Prompt],
    sampler: Sampler,
    max_new_tokens: int,
    seed: int,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
    chunk: int = 256,
    stops: tuple[int, ...] | None = None,
) -> list[Completion]:
    """Return one completion per conversation, in order.

    Row ``i`` draws from ``row_seed(seed, i)``, so that its answer does not depend on how many
    others there are. ``chunk`` is part of what an answer depends on (batches are made within one).
    ``report`` gets ``{"step": rows done, "steps": rows}``; ``should_stop`` is asked between
    chunks and raises Stopped. ``stops`` are the ids that end an answer; None takes those of the
    folder the tokenizer was loaded from.
    """
    prompts = [encode_prompt(tokenizer, conversation) for conversation in conversations]
    if stops is None:
        stops = stop_ids(tokenizer, Path(tokenizer.name_or_path))
    how = Generation(sampler, max_new_tokens, range(0), stops, conversations=conversations)
    seeds = [row_seed(seed, row) for row in range(len(prompts))]
    return answer_ids(engine_open, prompts, how, seeds, report, should_stop, chunk)


def answer_ids(
    engine_open: OpenEngine,
    prompts: Sequence[list[int]],
    how: Generation,
    seeds: Sequence[int],
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
    chunk: int = 256,
) -> list[Completion]:
    """Return one completion per prompt (token ids), each drawn from its own of ``seeds``."""
    done: list[Completion] = []
    for start in range(0, len(prompts), chunk):
        if should_stop is not None and should_stop():
            raise Stopped(f"Stopped after {start} of {len(prompts)} answers.")
        part = slice(start, start + chunk)
        asked = replace(how, seeds=seeds[part], conversations=how.conversations[part])
        said = engine_open.generate(prompts[part], asked)
        done += completions(engine_open, said, len(prompts[part]))
        if report is not None:
            report({"step": len(done), "steps": len(prompts)})
    return done


def row_seed(seed: int, row: int) -> int:
    """Return the seed of one row, 63 bits: neighbouring runs and rows share nothing."""
    digest = hashlib.sha256(f"{seed}:{row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check_expressible(engine: Engine, sampler: Sampler) -> None:
    """Raise ModelError when the engine cannot draw as the sampler says; for preflight."""
    if engine.name == REFERENCE or sampler.engine_options(engine.name) is not None:
        return
    raise ModelError(
        f"The engine {engine.name!r} cannot express the sampler {sampler.name!r}."
        f" Use engine: {REFERENCE}, which runs every sampler, or another sampler."
    )
