"""Let a model answer rows of data through an engine, the same way in every stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from tunesmith import Completion, Engine, PromptStyle, Row, Sampler, Task, plugins
from tunesmith.chat import Prompt
from tunesmith.evidence.measurements import Answer
from tunesmith.prompts import label
from tunesmith_flows.bench import Bench

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith import OpenEngine

LONGEST = 128
"""Tokens an answer may have where no task says."""


@dataclass(slots=True)
class Speaker:
    """A model that is open in an engine, with the tokenizer it was trained with."""

    engine: OpenEngine
    tokenizer: PreTrainedTokenizerBase
    stop_ids: tuple[int, ...]
    context: int | None = None
    """Tokens the model holds, where it says."""
    seconds: float = 0.0
    tokens: int = 0

    def answer(
        self,
        bench: Bench,
        conversations: Sequence[Prompt],
        sampler: Sampler,
        max_new_tokens: int,
        seed: int,
    ) -> list[Completion]:
        """Return one completion per conversation; each draws from a seed of its own."""
        from tunesmith.generation.answers import answer_prompts

        began = time.monotonic()
        done = answer_prompts(
            self.engine,
            self.tokenizer,
            conversations,
            sampler,
            max_new_tokens,
            seed,
            report=bench.report,
            should_stop=bench.should_stop,
            stops=self.stop_ids,
        )
        self.seconds += time.monotonic() - began
        self.tokens += sum(len(completion.ids) for completion in done)
        return done

    def sit(
        self,
        bench: Bench,
        model: str,
        task: Task,
        style: PromptStyle,
        rows: Sequence[Row],
        shots: Sequence[Row],
        sampler: Sampler,
        seed: int,
    ) -> list[Answer]:
        """Ask every row in a style, which may take several calls, and score the answers."""
        from tunesmith.evidence.grading import sit
        from tunesmith.generation.asking import Asker

        asker = Asker(
            self.engine,
            self.tokenizer,
            self.stop_ids,
            self.context,
            label(style),
            task,
            [str(row["id"]) for row in rows],
            sampler,
            seed,
            report=bench.report,
            should_stop=bench.should_stop,
        )
        answers = sit(model, task, style, rows, shots, asker)
        self.seconds += asker.seconds
        self.tokens += asker.written
        return answers

    def speed(self) -> float:
        """Return new tokens per second so far."""
        return self.tokens / self.seconds if self.seconds else 0.0


@contextmanager
def speaker(
    engine: Engine, model: Path, tokenizer_from: Path | None = None, scratch: Path | None = None
) -> Iterator[Speaker]:
    """Open a model folder; a quantized one takes the tokenizer of the model it was made from.

    An engine that does not read the folder gets the same weights in a form it reads, made in
    ``scratch``. Raises ModelError where there is none.
    """
    from tunesmith.chat import stop_ids
    from tunesmith.generation.exporting import readable
    from tunesmith.models import inspect_model, load_tokenizer

    home = tokenizer_from or model
    tokenizer = load_tokenizer(home)
    folder = model if scratch is None else readable(engine, model, scratch)
    with engine.open(folder) as opened:
        context = inspect_model(home).context
        yield Speaker(opened, tokenizer, stop_ids(tokenizer, home), context)


def choose(rows: Sequence[Row], tasks: Sequence[str], wanted: int, seed: int) -> list[Row]:
    """Return up to ``wanted`` rows of the tasks (of all when none is named), drawn by seed."""
    fitting = [row for row in rows if not tasks or row.get("task") in tasks]
    return fitting if len(fitting) <= wanted else Random(seed).sample(fitting, wanted)


def longest_answer(task: str | None) -> int:
    """Return how many tokens an answer to a task may have."""
    known = plugins.host().available(Task)
    return known[task]().max_new_tokens if task in known else LONGEST


def prompt_of(row: Row) -> Prompt:
    """Return the conversation a row asks to complete; of a document, its first words."""
    if "prompt" in row:
        return list(row["prompt"])
    return " ".join(str(row["text"]).split(" ")[:12])


def last_words(row: Row) -> str:
    """Return what a row asks, as people read it."""
    prompt = prompt_of(row)
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])


def by_task(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return the positions of the rows of each task, in the order the tasks appear."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(str(row.get("task", "")), []).append(place)
    return places


def answer_rows(
    bench: Bench, voice: Speaker, rows: Sequence[Row], sampler: Sampler, seed: int
) -> list[Completion]:
    """Answer each row's prompt within its task's limit; in the order of the rows."""
    done: dict[int, Completion] = {}
    for task, places in by_task(rows).items():
        prompts = [prompt_of(rows[place]) for place in places]
        answers = voice.answer(bench, prompts, sampler, longest_answer(task), seed)
        done.update(zip(places, answers, strict=True))
    return [done[place] for place in range(len(rows))]


def sizes(folder: Path) -> dict[str, Any]:
    """Return what the weights in a folder weigh: ``bytes`` and, where known, ``parameters``."""
    from tunesmith.adapted import weight_files

    weights = [*weight_files(folder), *folder.glob("*.gguf"), *folder.glob("ctranslate2/*.bin")]
    return {"bytes": sum(path.stat().st_size for path in weights)}
