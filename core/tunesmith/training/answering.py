"""A teacher's answers as rows to learn from: text, so that a student of any tokenizer may read it.

Answers are written in portions, each flushed to the work folder when it is whole. A portion is
always the same prompts in the same batches, so that a run which goes on after a kill has the same
answers as one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.chat import Prompt, Rendered, encode_prompt, fingerprint, render_rows, stop_ids
from tunesmith.errors import DataError, Stopped
from tunesmith.generation.answers import row_seed
from tunesmith.generation.reference import decoder, generate
from tunesmith.models import context_length, load_tokenizer, weights_digest
from tunesmith.nesting import spec_of
from tunesmith.records import Completion, Generation, Row, TrainingJob
from tunesmith.techniques import Sampler
from tunesmith.training.batches import TokenRows
from tunesmith.training.encoding import Encoded
from tunesmith.training.teaching import open_teacher

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PORTION = 128
"""Answers between two writes."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How the teacher answers: ``answers`` times per prompt, each from a random stream."""

    sampler: Sampler
    answers: int
    max_new_tokens: int
    seed: int
    keep_truncated: bool = False
    """Whether answers that hit the length limit count; learnt whole, they would teach to stop in
    mid-sentence, so that they are learnt without their end of turn."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Prompt-completion rows with the teacher's words, and what was left out."""

    rows: list[Row]
    too_long: int
    """Prompts that leave no room for an answer."""
    truncated: int
    """Answers that hit the length limit."""


def teacher_rows(teacher: Path, rows: Sequence[Row], how: Asking, job: TrainingJob) -> Answered:
    """Let the teacher answer the prompts of rows; goes on from what `job.work` holds.

    Raises DataError when there is nothing to learn from, Stopped between portions when
    `job.should_stop()`.
    """
    tokenizer = load_tokenizer(teacher)
    asked, ids = _prompts(tokenizer, rows)
    room = context_length(teacher) - how.max_new_tokens
    fits = [number for number, one in enumerate(ids) if len(one) <= room]
    if not fits:
        raise DataError(
            f"None of the {len(rows)} prompts leaves room for {how.max_new_tokens} tokens in the"
            f" teacher's context of {context_length(teacher)}. Lower max_new_tokens or give shorter"
            " prompts."
        )
    many = [number for number in fits for _ in range(how.answers)]
    said = _said(teacher, tokenizer, [ids[number] for number in many], how, job)
    whole = [
        {"prompt": asked[number], "completion": words["text"], "finish": words["finish"]}
        for number, words in zip(many, said, strict=True)
        if how.keep_truncated or words["finish"] == "stop"
    ]
    if not whole:
        raise DataError(
            f"All {len(said)} answers of the teacher reach max_new_tokens ({how.max_new_tokens}):"
            " none of them ends. Raise it, take a teacher that ends its turns, or keep them with"
            " truncated: keep."
        )
    truncated = sum(words["finish"] != "stop" for words in said)
    return Answered(whole, len(rows) - len(fits), truncated)


def _prompts(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]
) -> tuple[list[Prompt], list[list[int]]]:
    for number, row in enumerate(rows):
        if "prompt" not in row:
            raise DataError(
                f"Row {number} has the columns {sorted(row)}; a teacher answers a prompt."
            )
    asked: list[Prompt] = [row["prompt"] for row in rows]
    return asked, [encode_prompt(tokenizer, one) for one in asked]


def _said(
    teacher: Path,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    how: Asking,
    job: TrainingJob,
) -> list[dict[str, str]]:
    """Return text and finish of every answer, in order."""
    path = job.work / f"answers-{_key(teacher, tokenizer, prompts, how)}.jsonl"
    done = read_portions(path)
    if len(done) == len(prompts):
        return done
    model, decode = open_teacher(teacher), decoder(tokenizer)
    stops = stop_ids(tokenizer, teacher)
    for start in range(len(done), len(prompts), PORTION):
        if job.should_stop():
            raise Stopped(f"Stopped after {start} of {len(prompts)} answers; resume goes on there.")
        job.report({"doing": f"the teacher answers: {start} of {len(prompts)}"})
        part = prompts[start : start + PORTION]
        seeds = [row_seed(how.seed, start + at) for at in range(len(part))]
        asked = Generation(how.sampler, how.max_new_tokens, seeds, stops)
        _append(path, generate(model, part, asked, decode))
    return read_portions(path)


def _key(
    teacher: Path, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], how: Asking
) -> str:
    """Return a short digest of all that the answers depend on, to name their file with."""
    said: list[Any] = [weights_digest(teacher), fingerprint(tokenizer), spec_of(how.sampler)]
    said += [how.answers, how.max_new_tokens, how.seed, prompts]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _append(path: Path, said: list[Completion]) -> None:
    """Add a portion as one line, on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    portion = [{"text": one.text, "finish": one.finish} for one in said]
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(portion, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_portions(path: Path) -> list[dict[str, str]]:
    """Return the answers of all whole portions; half a line, left by a kill, is taken away."""
    if not path.is_file():
        return []
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [one for line in whole.decode("utf-8").split("\n")[:-1] for one in json.loads(line)]


def encode_answers(
    tokenizer: PreTrainedTokenizerBase, answered: Answered, longest: int, *, learn_all: bool
) -> tuple[Encoded, int]:
    """Return answers as the student reads them, and how many it cannot spell, which are dropped.

    Raises DataError when none is left.
    """
    spelt: list[Rendered] = []
    unspelt, too_long, example = 0, 0, ""
    for row, rendered in zip(answered.rows, render_rows(tokenizer, answered.rows), strict=True):
        end = len(rendered.ids) - (row["finish"] != "stop")
        if not _spells(tokenizer, rendered, row["completion"]):
            unspelt, example = unspelt + 1, example or row["completion"]
        elif end > longest:
            too_long += 1
        else:
            mask = [True] * end if learn_all else rendered.mask[:end]
            spelt.append(Rendered(rendered.ids[:end], mask))
    if not spelt:
        raise DataError(
            f"Nothing of the teacher's {len(answered.rows)} answers can be learnt: {too_long} are"
            f" longer than the student's context of {longest} tokens, and {unspelt} hold characters"
            f" its tokenizer cannot spell{f', such as {example[:60]!r}' if example else ''}."
        )
    return Encoded(TokenRows.build(spelt), too_long), unspelt


def _spells(tokenizer: PreTrainedTokenizerBase, rendered: Rendered, text: str) -> bool:
    """Say whether a tokenizer has a token for every character of an answer."""
    ids = [one for one, learnt in zip(rendered.ids, rendered.mask, strict=True) if learnt]
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        return False
    # Some tokenizers leave out what they cannot spell; spaces are theirs to change.
    said = str(tokenizer.decode(ids, skip_special_tokens=True))
    return len(_letters(said)) >= len(_letters(text))


def _letters(text: str) -> str:
    return "".join(text.split())


def as_lines(answered: Answered) -> Iterator[str]:
    """Return the rows as JSON lines."""
    for row in answered.rows:
        yield json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"
