"""Sequence-level distillation: the teacher answers, and the student learns to answer likewise.

Kim and Rush 2016 (arXiv 1606.07947), section 3.2: the teacher's distribution over whole answers is
replaced by its mode, found by beam search, or here by its samples, and the student is trained on
that as on any text. What passes from one to the other is text, so their tokenizers may differ.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith import Distiller, Outcome, Sampler, TrainingJob, hookimpl
from tunesmith.models import load_tokenizer
from tunesmith.nesting import Nested
from tunesmith.training import Size
from tunesmith.training.answering import (
    Answered,
    Asking,
    as_lines,
    encode_answers,
    teacher_rows,
)
from tunesmith.training.losses import Forward
from tunesmith.training.nearness import nearness
from tunesmith.training.same_tokens import first_difference
from tunesmith.training.supervised import Lesson, learn_rows, mean_loss
from tunesmith.training.teaching import open_pupil, open_teacher
from tunesmith_plugins.distillers.taught import FromRows

ANSWERS = "teacher_answers.jsonl"
"""What the student learnt from, beside its weights."""


class Sequence(FromRows):
    """Teach a student the teacher's answers as text; their tokenizers may differ."""

    name: ClassVar[str] = "sequence"

    sampler: Annotated[Sampler, Nested()] = Field(
        default={"name": "greedy"},  # type: ignore[arg-type]
        validate_default=True,
    )
    """How the teacher answers: `greedy`, `{name: beam, num_beams: 5}` as in the paper, or one that
    draws, such as `random`."""
    answers: int = Field(default=1, ge=1)
    """Answers per prompt; more than one needs a sampler that draws."""
    max_new_tokens: int = Field(default=128, ge=1, examples=[8])
    """Longest answer, in the teacher's tokens."""
    truncated: Literal["drop", "keep"] = Field(default="drop", examples=["keep"])
    """What becomes of answers that reach that limit: dropped and counted, or learnt from as far as
    they go, without an end of turn."""

    def problems(self) -> list[str]:
        """Refuse to ask several times for what is the same answer every time."""
        if self.answers > 1 and not self.sampler.draws:
            return [
                f"sequence: {self.sampler.name} gives the same answer {self.answers} times. Set"
                " answers: 1, or take a sampler that draws, such as random."
            ]
        return []

    def distil(self, teacher: Path, job: TrainingJob) -> Outcome:
        """Train `job.model_dir`, or a new student, on the teacher's answers to `job.rows`."""
        asking = self._asking(job.seed)
        taught = teacher_rows(teacher, job.rows, asking, job)
        held = self._held(teacher, job, asking)
        pupil = open_pupil(job, teacher, self.student)
        everything = self.learn == "all"
        data, unspelt = encode_answers(pupil.tokenizer, taught, pupil.longest, learn_all=everything)
        lesson = Lesson(
            model=pupil.model,
            tokenizer=pupil.tokenizer,
            origin=pupil.origin,
            data=data,
            size=Size(self.batch_tokens).for_vocabulary(len(pupil.tokenizer)),
            longest=pupil.longest,
        )
        before = self._measured(teacher, lesson, held, "before")
        # What is held out is the teacher's answers, which are measured here.
        outcome = learn_rows(self, lesson, replace(job, eval_rows=()))
        outcome.metrics |= before | self._measured(teacher, lesson, held, "after")
        outcome.metrics |= {
            "prompts_too_long": taught.too_long,
            "answers_truncated": taught.truncated,
            "answers_unspelt": unspelt,
        }
        (job.out / ANSWERS).write_text("".join(as_lines(taught)), encoding="utf-8")
        return outcome

    def _asking(self, seed: int) -> Asking:
        keep = self.truncated == "keep"
        return Asking(self.sampler, self.answers, self.max_new_tokens, seed, keep)

    def _held(self, teacher: Path, job: TrainingJob, asking: Asking) -> Answered | None:
        """Return the teacher's answers to the held-out prompts."""
        if not job.eval_rows:
            return None
        # Once each: more answers per prompt would only be more of the same evidence.
        return teacher_rows(teacher, job.eval_rows, replace(asking, answers=1), job)

    def _measured(
        self, teacher: Path, lesson: Lesson, held: Answered | None, when: str
    ) -> dict[str, Any]:
        """Return how likely the held-out answers are to the student, and how near both are.

        Nearness needs one tokenizer; across tokenizers the loss (nats per token of the student)
        has to do.
        """
        if held is None:
            return {}
        everything = self.learn == "all"
        rows = encode_answers(lesson.tokenizer, held, lesson.longest, learn_all=everything)[0].rows
        name = "eval_loss" if when == "after" else "eval_loss_before"
        found: dict[str, Any] = {
            name: mean_loss(lesson.model, rows, lesson.size, self.dtype),
            "eval_rows": len(rows),
        }
        if first_difference(load_tokenizer(teacher), lesson.tokenizer, held.rows) is None:
            master = open_teacher(teacher)
            found |= nearness(Forward(master), Forward(lesson.model), rows).metrics(when)
        return found


@hookimpl
def register_distillers() -> list[type[Distiller]]:
    """Offer the distiller."""
    return [Sequence]
