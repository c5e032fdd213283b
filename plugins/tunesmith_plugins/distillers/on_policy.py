"""On-policy distillation: the student answers, and the teacher says how it would have gone on.

Generalised knowledge distillation, Agarwal et al. 2024 (GKD, arXiv 2306.13649), algorithm 1. A
student that only ever sees its teacher's answers meets its own mistakes for the first time when it
is used; here it learns to go on from them. `beta`, `lmbda`, `temperature`, `max_new_tokens` and
`seq_kd` are TRL's GKDConfig's, defaults included.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from tunesmith import Distiller, ModelError, Outcome, Sampler, TrainingJob, hookimpl
from tunesmith.chat import fingerprint, stop_ids
from tunesmith.generation.reference import decoder
from tunesmith.models import context_length, load_tokenizer, weights_digest
from tunesmith.plugins import build
from tunesmith.training import run_loop
from tunesmith.training.adapting import save_trained, trainable_parameters
from tunesmith.training.divergences import Divergence
from tunesmith.training.hardware import computing_dtype
from tunesmith.training.nearness import nearness
from tunesmith.training.own_samples import (
    Material,
    OwnSamples,
    Sampling,
    plan_samples,
    read_material,
)
from tunesmith.training.same_tokens import require_same_tokens
from tunesmith.training.speaking import refuse_unmergeable
from tunesmith.training.supervised import loop_settings
from tunesmith.training.teaching import Pupil, open_pupil, open_teacher
from tunesmith_plugins.distillers.taught import Taught

_HELD = 64
"""Held-out prompts the student answers before and after, to be measured on."""


class OnPolicy(Taught):
    """Let a student answer and teach it, token by token, how the teacher would have gone on."""

    name: ClassVar[str] = "on_policy"
    needs_student: ClassVar[bool] = True

    steps: int = Field(default=200, ge=1, examples=[3])
    """How often to answer and learn."""
    batch_size: int = Field(default=16, ge=1)
    """Prompts per step; every prompt once before any is asked again."""
    beta: float = Field(default=0.5, ge=0, le=1)
    """The generalised Jensen-Shannon divergence: 0 is the forward KL, 1 the reverse KL."""
    lmbda: float = Field(default=0.5, ge=0, le=1)
    """Share of steps on the student's own answers; the others learn from given ones."""
    temperature: float = Field(default=0.9, gt=0)
    """Temperature the answers are sampled at; the divergence is taken of unflattened ones."""
    max_new_tokens: int = Field(default=128, ge=1, examples=[8])
    """Longest answer, in tokens."""
    seq_kd: bool = False
    """Let the teacher write the other steps' answers instead of taking those of the rows."""
    top_k: int | None = Field(default=None, ge=1)
    """Tell only the teacher's likeliest tokens apart and count all others as one; None: all."""

    def distil(self, teacher: Path, job: TrainingJob) -> Outcome:
        """Train `job.model_dir`; ModelError when there is none or when the tokenizers differ."""
        if job.model_dir is None:
            raise ModelError(
                "on_policy needs a student that answers already: nothing can be learnt from random"
                " tokens. Name its folder as `student`; `sequence` or `logit` makes one."
            )
        refuse_unmergeable(self.name, job.adapter)
        pupil = open_pupil(job, teacher, None)
        require_same_tokens(self.name, load_tokenizer(teacher), pupil.tokenizer, job.rows)
        longest = min(pupil.longest, context_length(teacher))
        given = self.lmbda < 1 and not self.seq_kd
        material = read_material(
            pupil.tokenizer, job.rows, self.max_new_tokens, longest, given=given
        )
        held = self._held(job, pupil, longest)
        objective = self._objective(teacher, job, pupil, material)
        metrics = self._facts(objective, pupil, material)
        metrics |= self._near(objective, held, "before")
        metrics |= self._walk(objective, job, self._key(job, teacher, pupil, material))
        metrics |= self._near(objective, held, "after")
        timings = {"tokens_per_second": metrics.pop("tokens_per_second")}
        timings["seconds"] = metrics.pop("seconds")
        rows = material.token_rows()
        metrics |= save_trained(job, pupil.model, pupil.tokenizer, rows, self.save_dtype)
        return Outcome(metrics, timings)

    def _objective(
        self, teacher: Path, job: TrainingJob, pupil: Pupil, material: Material
    ) -> OwnSamples:
        assert job.model_dir is not None
        how = Sampling(
            lmbda=self.lmbda,
            seq_kd=self.seq_kd,
            sampler=build(Sampler, {"name": "temperature", "temperature": self.temperature}),
            max_new_tokens=self.max_new_tokens,
            stop_ids=stop_ids(pupil.tokenizer, job.model_dir),
            batch=self.batch_size,
            seed=job.seed,
        )
        divergence = Divergence("jsd", self.beta, top_k=self.top_k)
        said = decoder(pupil.tokenizer)
        master = open_teacher(teacher)
        return OwnSamples(pupil.model, master, material, how, divergence, job.adapter, said)

    def _walk(self, objective: OwnSamples, job: TrainingJob, key: dict[str, Any]) -> dict[str, Any]:
        vocabulary = objective.forward.inner.config.get_text_config().vocab_size
        steps = plan_samples(objective.material, objective.how, self.steps, vocabulary)
        watched = replace(job, report=lambda point: job.report({**point, **objective.watched()}))
        result = run_loop(
            objective.forward.model, steps, objective, loop_settings(self), watched, key
        )
        own = sum(objective.how.by_student(step) for step in range(self.steps))
        return {
            "loss": result.final_loss,
            "steps": result.steps,
            "student_made": own / self.steps,
            "seconds": result.seconds,
            "tokens_per_second": result.tokens_per_second,
        }

    def _facts(self, objective: OwnSamples, pupil: Pupil, material: Material) -> dict[str, Any]:
        return {
            "prompts": len(material.prompts),
            "prompts_too_long": material.too_long,
            "trainable_parameters": trainable_parameters(pupil.model),
            "teacher_parameters": objective.teacher.model.num_parameters(),
            "dtype": computing_dtype(self.dtype),
        }

    def _held(self, job: TrainingJob, pupil: Pupil, longest: int) -> Material | None:
        """Return some held-out prompts, with their answers if they all have one."""
        rows = job.eval_rows[:_HELD]
        if not rows:
            return None
        given = all("completion" in row for row in rows)
        return read_material(pupil.tokenizer, rows, self.max_new_tokens, longest, given=given)

    def _near(self, asked: OwnSamples, held: Material | None, when: str) -> dict[str, float]:
        """Measure the student against its teacher on its own answers, and on given ones."""
        if held is None:
            return {}
        own = nearness(asked.teacher, asked.forward, asked.own_answers(held.prompts))
        found = {f"own_{name}": value for name, value in own.metrics(when).items()}
        if held.given:
            given = nearness(asked.teacher, asked.forward, held.token_rows())
            found |= given.metrics(when)
        return found

    def _key(
        self, job: TrainingJob, teacher: Path, pupil: Pupil, material: Material
    ) -> dict[str, Any]:
        return {
            "method": self.name,
            "options": self.model_dump_json(),
            "rows": material.digest(),
            "origin": f"{pupil.origin} {fingerprint(pupil.tokenizer)}",
            "teacher": weights_digest(teacher),
            "adapter": job.adapter.model_dump_json() if job.adapter else "",
        }


@hookimpl
def register_distillers() -> list[type[Distiller]]:
    """Offer the distiller."""
    return [OnPolicy]
