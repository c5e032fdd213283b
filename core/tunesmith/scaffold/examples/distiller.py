"""Teach a student the teacher's next-token distribution (Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith import (
    Distiller,
    ModelError,
    Outcome,
    Stopped,
    TrainingJob,
    hookimpl,
    load_model,
    load_tokenizer,
    render_rows,
    save_model,
)


class Example(Distiller):
    """Lower the divergence of the student from the teacher, token by token on the rows."""

    name = "example"
    epochs: int = Field(default=1, ge=1)
    """How often each row is seen."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's rate, the same all the time."""

    def distil(self, teacher: Path, job: TrainingJob) -> Outcome:
        """Train the student in ``job.model_dir``; both must share one tokenizer."""
        import torch

        if job.model_dir is None:
            raise ModelError(f"{self.name} needs a student to teach; give its folder.")
        tokenizer = load_tokenizer(job.model_dir)
        if load_tokenizer(teacher).get_vocab() != tokenizer.get_vocab():
            raise ModelError("Teacher and student have different tokenizers.")
        student: Any = load_model(job.model_dir)
        master: Any = load_model(teacher)
        optimiser = torch.optim.AdamW(student.parameters(), lr=self.learning_rate)
        lessons = render_rows(tokenizer, job.rows)
        steps, gap = self.epochs * len(lessons), 0.0
        for step in range(steps):
            if job.should_stop():
                raise Stopped(f"Stopped after {step} of {steps} steps.")
            row = torch.tensor([lessons[step % len(lessons)].ids])
            with torch.no_grad():
                wanted = master(input_ids=row).logits.log_softmax(dim=-1)
            said = student(input_ids=row).logits.log_softmax(dim=-1)
            divergence = (wanted.exp() * (wanted - said)).sum(dim=-1).mean()
            optimiser.zero_grad()
            divergence.backward()
            optimiser.step()
            gap = float(divergence)
            job.report({"step": step + 1, "steps": steps, "loss": gap})
        save_model(student, tokenizer, job.out)
        return Outcome({"divergence": gap, "steps": steps})


@hookimpl
def register_distillers() -> list[type[Distiller]]:
    """Offer the distiller."""
    return [Example]
