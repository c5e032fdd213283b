"""Logit distillation: the student learns the teacher's whole next-token distribution.

Soft targets with a temperature are Hinton et al. 2015 (arXiv 1503.02531); the reverse direction, in
which a small student gives up rare answers rather than blurring all of them, is argued for by Gu et
al. 2023 (MiniLLM, arXiv 2306.08543), here per token on given rows rather than on its own samples
(`on_policy` does that). The divergences are defined in `tunesmith.training.divergences`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunesmith import Distiller, Outcome, TrainingJob, hookimpl
from tunesmith.chat import fingerprint
from tunesmith.models import context_length, load_tokenizer, weights_digest
from tunesmith.training import LoopResult, Size, TokenLoss, evaluate, plan, run_loop
from tunesmith.training.adapting import save_trained, trainable_parameters
from tunesmith.training.divergences import Divergence, Kind
from tunesmith.training.encoding import Encoded, encode_rows
from tunesmith.training.hardware import computing_dtype
from tunesmith.training.nearness import nearness
from tunesmith.training.same_tokens import require_same_tokens
from tunesmith.training.supervised import budget, loop_settings
from tunesmith.training.teaching import Pupil, SoftLoss, open_pupil, open_teacher
from tunesmith_plugins.distillers.taught import FromRows

if TYPE_CHECKING:
    from tunesmith.training import TokenRows


class Logit(FromRows):
    """Teach a student the teacher's token probabilities; both must share one tokenizer."""

    name: ClassVar[str] = "logit"

    divergence: Kind = "forward_kl"
    """`forward_kl` covers all the teacher says, `reverse_kl` keeps to what it says most, `jsd`
    (generalised Jensen-Shannon) lies between them."""
    beta: float = Field(default=0.5, ge=0, le=1)
    """For `jsd`: 0 is the forward KL, 1 the reverse KL, as in GKD."""
    temperature: float = Field(default=2.0, gt=0)
    """Flattens both distributions, so that unlikely tokens teach too; 1 leaves them as they are."""
    top_k: int | None = Field(default=None, ge=1)
    """Tell only the teacher's likeliest tokens apart and count all others as one; None: all."""
    soft: float = Field(default=0.7, ge=0, le=1)
    """Weight of the teacher's distribution; the rest is ordinary cross-entropy on the rows."""

    def distil(self, teacher: Path, job: TrainingJob) -> Outcome:
        """Train `job.model_dir`, or a new student; ModelError when the tokenizers differ."""
        pupil = open_pupil(job, teacher, self.student)
        require_same_tokens(self.name, load_tokenizer(teacher), pupil.tokenizer, job.rows)
        data, held = self._encoded(pupil, job, teacher)
        master = open_teacher(teacher)
        divergence = Divergence(self.divergence, self.beta, self.temperature, self.top_k)
        objective = SoftLoss(pupil.model, master, data.rows, divergence, self.soft)
        metrics: dict[str, Any] = {
            "rows": len(data.rows),
            "rows_too_long": data.too_long,
            "trainable_parameters": trainable_parameters(pupil.model),
            "teacher_parameters": master.num_parameters(),
            "dtype": computing_dtype(self.dtype),
        }
        metrics |= self._near(objective, held, "before")
        size = Size(self.batch_tokens).for_vocabulary(len(pupil.tokenizer))
        steps = plan(data.rows.lengths, size, job.seed, **budget(self))
        key = self._key(job, teacher, pupil, data)
        result = run_loop(pupil.model, steps, objective, loop_settings(self), job, key)
        metrics |= self._learnt(result) | self._near(objective, held, "after")
        metrics |= self._losses(objective, held, size)
        metrics |= save_trained(job, pupil.model, pupil.tokenizer, data.rows, self.save_dtype)
        timings = {"seconds": result.seconds, "tokens_per_second": result.tokens_per_second}
        return Outcome(metrics, timings)

    def _encoded(
        self, pupil: Pupil, job: TrainingJob, teacher: Path
    ) -> tuple[Encoded, TokenRows | None]:
        """Return the rows to learn from and the held-out ones, as long as both models can read."""
        longest = min(pupil.longest, context_length(teacher))
        everything = self.learn == "all"
        data = encode_rows(pupil.tokenizer, job.rows, longest, learn_all=everything)
        if not job.eval_rows:
            return data, None
        held = encode_rows(pupil.tokenizer, job.eval_rows, longest, learn_all=everything)
        return data, held.rows

    def _key(self, job: TrainingJob, teacher: Path, pupil: Pupil, data: Encoded) -> dict[str, Any]:
        return {
            "method": self.name,
            "options": self.model_dump_json(),
            "rows": data.rows.digest(),
            "origin": f"{pupil.origin} {fingerprint(pupil.tokenizer)}",
            "teacher": weights_digest(teacher),
            "adapter": job.adapter.model_dump_json() if job.adapter else "",
        }

    def _learnt(self, result: LoopResult) -> dict[str, Any]:
        return {"loss": result.final_loss, "steps": result.steps, "tokens": result.tokens}

    def _near(self, asked: SoftLoss, held: TokenRows | None, when: str) -> dict[str, float]:
        if held is None:
            return {}
        return nearness(asked.teacher, asked.forward, held).metrics(when)

    def _losses(self, asked: SoftLoss, held: TokenRows | None, size: Size) -> dict[str, float]:
        """Measure both on the held-out rows: plain cross-entropy, in nats per token."""
        if held is None:
            return {}
        steps = plan(held.lengths, size, 0, epochs=1.0)
        dtype = computing_dtype(self.dtype)
        student, teacher = asked.forward.model, asked.teacher.model
        return {
            "eval_loss": evaluate(student, steps, TokenLoss(student, held), dtype),
            "teacher_eval_loss": evaluate(teacher, steps, TokenLoss(teacher, held), dtype),
            "eval_rows": len(held),
        }


@hookimpl
def register_distillers() -> list[type[Distiller]]:
    """Offer the distiller."""
    return [Logit]
