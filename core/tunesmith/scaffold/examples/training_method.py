"""Supervised fine-tuning in its plainest form: one row per step, AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith import (
    ModelError,
    Outcome,
    Stopped,
    TrainingJob,
    TrainingMethod,
    hookimpl,
    load_model,
    load_tokenizer,
    render_rows,
    save_model,
)

if TYPE_CHECKING:
    from torch import Tensor


class Example(TrainingMethod):
    """Learn to answer as the completions do, one row after the other."""

    name = "example"
    rows_type = "prompt-completion"
    epochs: int = Field(default=1, ge=1)
    """How often each row is seen."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's rate, the same all the time."""

    def train(self, job: TrainingJob) -> Outcome:
        """Write the trained model to ``job.out``; a job that was killed begins again."""
        import torch

        if job.model_dir is None:
            raise ModelError(f"{self.name} needs a model to start from.")
        tokenizer = load_tokenizer(job.model_dir)
        plain = load_model(job.model_dir)
        model: Any = job.adapter.wrap(plain) if job.adapter else plain
        learning = [one for one in model.parameters() if one.requires_grad]
        optimiser = torch.optim.AdamW(learning, lr=self.learning_rate)
        lessons = render_rows(tokenizer, job.rows)
        steps, loss = self.epochs * len(lessons), 0.0
        for step in range(steps):
            if job.should_stop():
                raise Stopped(f"Stopped after {step} of {steps} steps.")
            lesson = lessons[step % len(lessons)]
            error: Any = _loss(model, lesson.ids, lesson.mask)
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            loss = float(error)
            job.report({"step": step + 1, "steps": steps, "loss": loss})
        merged = job.adapter.merge(model) if job.adapter else model
        save_model(merged, tokenizer, job.out)
        return Outcome({"loss": loss, "steps": steps})


def _loss(model: Any, ids: list[int], mask: list[bool]) -> Tensor:
    """Return the mean cross-entropy of the tokens that are to be learnt."""
    import torch

    row = torch.tensor([ids])
    target = torch.where(torch.tensor([mask]), row, -100)[:, 1:]
    logits = model(input_ids=row).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), target)


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Example]
