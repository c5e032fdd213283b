"""How fast models answer the same prompts: in turns, so that a busy minute hurts all of them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict

from tunesmith import DataError, Row, Sampler, plugins
from tunesmith.chat import Prompt
from tunesmith.evidence.choosing import Speed
from tunesmith_flows.answering import Speaker, prompt_of
from tunesmith_flows.bench import Bench, whole_file, write_json
from tunesmith_flows.contestants import Contestant
from tunesmith_flows.staging import check_stop

ROUNDS, ALONE, TOGETHER, NEW = 5, 4, 32, 64
"""Rounds; prompts answered one at a time, and all at once, in each; tokens of an answer."""


def measure(bench: Bench, models: Sequence[Contestant], rows: Sequence[Row]) -> dict[str, Speed]:
    """Return the median speed of every model; measured before a kill, it is what it was."""
    noted = bench.work / "speeds.json"
    if not noted.is_file():
        prompts = _short_enough([prompt_of(row) for row in rows], models)[:TOGETHER]
        found = {name: asdict(speed) for name, speed in _measured(bench, models, prompts).items()}
        whole_file(noted, lambda path: write_json(path, found))
    told = json.loads(noted.read_text(encoding="utf-8"))
    return {name: Speed(**speed) for name, speed in told.items()}


def _short_enough(prompts: list[Prompt], models: Sequence[Contestant]) -> list[Prompt]:
    """Return the prompts that leave every model room for an answer."""
    from tunesmith.chat import encode_prompt
    from tunesmith.models import context_length, load_tokenizer

    for home in {model.tokenizer_from or model.folder for model in models}:
        tokenizer, room = load_tokenizer(home), context_length(home) - NEW
        prompts = [one for one in prompts if len(encode_prompt(tokenizer, one)) <= room]
    if not prompts:
        raise DataError(f"No prompt of the split `validation` leaves room for {NEW} tokens.")
    return prompts


def _measured(
    bench: Bench, models: Sequence[Contestant], prompts: list[Prompt]
) -> dict[str, Speed]:
    rounds: dict[str, list[Speed]] = {model.name: [] for model in models}
    for turn in range(ROUNDS):
        bench.report({"doing": f"measuring speed, round {turn + 1} of {ROUNDS}"})
        for model in models if turn % 2 == 0 else reversed(models):
            check_stop(bench)
            with model.speaks() as voice:
                rounds[model.name].append(_once(bench, voice, prompts))
    return {name: _median(found) for name, found in rounds.items()}


def _once(bench: Bench, voice: Speaker, prompts: list[Prompt]) -> Speed:
    """Return the speed of one round; the first answer warms the engine up and is not counted."""
    _seconds_per_token(bench, voice, [prompts[:1]])
    alone = _seconds_per_token(bench, voice, [[prompt] for prompt in prompts[:ALONE]])
    together = _seconds_per_token(bench, voice, [prompts])
    return Speed(latency=alone, throughput=1 / together)


def _seconds_per_token(bench: Bench, voice: Speaker, batches: Sequence[Sequence[Prompt]]) -> float:
    greedy = plugins.build(Sampler, "greedy")
    began, tokens = time.perf_counter(), 0
    for batch in batches:
        tokens += sum(len(one.ids) for one in voice.answer(bench, batch, greedy, NEW, bench.seed))
    return (time.perf_counter() - began) / max(1, tokens)


def _median(found: Sequence[Speed]) -> Speed:
    return Speed(
        latency=statistics.median(one.latency for one in found),
        throughput=statistics.median(one.throughput for one in found),
    )


def as_timings(measured: dict[str, Speed]) -> dict[str, float]:
    """Return the speeds as the ledger keeps them: ``latency/<model>``, ``throughput/<model>``."""
    return {
        f"{kind}/{name}": value
        for name, speed in measured.items()
        for kind, value in asdict(speed).items()
    }
