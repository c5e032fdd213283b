"""The same prompts answered by every model of the run, side by side.

Nothing is picked for its looks: they are the first items of every task, in the order of the data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tunesmith.report import files
from tunesmith.report.facts import Question, Said, StageFacts
from tunesmith.report.inert import cut
from tunesmith.store import Store, queries

PER_TASK = 2
LONGEST_PROMPT = 800

Key = tuple[str, str, str]
"""Task, prompt style, item."""


def from_evaluation(store: Store, artifact_id: str) -> list[Question]:
    """Return the first items of every task and style with all answers and whether they count."""
    met: dict[tuple[str, str], dict[str, None]] = {}
    prompts: dict[Key, str] = {}
    said: dict[Key, list[Said]] = {}
    for one in files.read_lines(store, artifact_id, "answers.jsonl"):
        task, style, item = one["task"], one.get("style", "zero_shot"), one["item"]
        items = met.setdefault((task, style), {})
        # A twin on another engine says what its parent says; it is compared, not read.
        if "@" in one["model"] or (item not in items and len(items) >= PER_TASK):
            continue
        items[item] = None
        key = (task, style, item)
        prompts.setdefault(key, one["question"])
        said.setdefault(key, []).append(_scored(one))
    return [
        Question(*key, cut(prompts[key], LONGEST_PROMPT), answers, "evaluate")
        for key, answers in said.items()
    ]


def _scored(one: Mapping[str, Any]) -> Said:
    return Said(one["model"], cut(one["text"]), bool(one["correct"]), one.get("finish", "stop"))


def from_samples(
    store: Store, told: Sequence[StageFacts], run_id: str, known: Collection[str]
) -> list[Question]:
    """Return the sample prompts of the training stages, for tasks that no exam has shown."""
    prompts: dict[Key, str] = {}
    said: dict[Key, dict[str, Said]] = {}
    for row in _samples(store, told, run_id):
        content, key = row.content, (str(row.content.get("task", "")), "", row.item)
        if key[0] in known:
            continue
        prompts.setdefault(key, str(content.get("prompt", "")))
        text = str(content.get("answer", content.get("text", "")))
        answer = Said(row.variant, cut(text), finish=str(content.get("finish", "stop")))
        said.setdefault(key, {})[row.variant] = answer
    wanted = _first_of_every_task(said)
    return [
        Question(*key, cut(prompts[key], LONGEST_PROMPT), list(said[key].values()), "samples")
        for key in wanted
    ]


def _samples(store: Store, told: Sequence[StageFacts], run_id: str) -> Iterable[queries.SampleRow]:
    """Yield the samples of every stage, from the run that made them."""
    for stage in told:
        if stage.status != "PENDING":
            yield from queries.samples(store, stage.maker or run_id, stage=stage.name)


def _first_of_every_task(keys: Iterable[Key]) -> list[Key]:
    groups: dict[str, list[Key]] = {}
    for key in keys:
        group = groups.setdefault(key[0], [])
        if len(group) < PER_TASK:
            group.append(key)
    return [key for group in groups.values() for key in group]
