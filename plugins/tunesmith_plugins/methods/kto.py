"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024): learn from likes and dislikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunesmith import ModelError, Outcome, Row, TrainingJob, TrainingMethod, hookimpl
from tunesmith.training.adapting import save_trained, trainable_parameters, wrap_model
from tunesmith.training.direct import (
    Logprobs,
    Start,
    answer_logprobs,
    open_start,
    planned,
    walk,
)
from tunesmith.training.hardware import Precision, computing_dtype
from tunesmith.training.logprobs import logprobs
from tunesmith.training.losses import Forward
from tunesmith.training.optimisers import Schedule
from tunesmith.training.preference import Weights
from tunesmith.training.unpaired import Mismatched, Undecided, UnpairedRows, unpaired_rows

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.training.batches import Indices, Step


class Kto(TrainingMethod):
    """Make liked answers likelier and disliked ones less so; no answer needs a counterpart."""

    name: ClassVar[str] = "kto"
    rows_type: ClassVar[str] = "unpaired-preference"

    beta: float = Field(default=0.1, gt=0)
    """How dear it is to leave the starting model."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`kto` compares with how far the policy has moved at all, which costs a forward pass more;
    `apo_zero_unpaired` compares with the start."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """Weight of liked answers. Times their number it should be 1 to 1.33 times the same product of
    the disliked ones."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """Weight of disliked answers."""
    ties: Undecided = "drop"
    """What an answer counts as whose labels balance or call it equal to the other one."""
    weights: Weights = "none"
    """Let answers count by their annotators' `agreement`, by the number of `labels`, or alike."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each answer is seen."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak rate; for all weights of a large model 5e-7 to 5e-6."""
    batch_size: int = Field(default=32, ge=2)
    """Answers per optimiser step; they also estimate how far the policy has moved."""
    warmup: float = Field(default=0.1, ge=0)
    """Share of the steps (or, from 1 on, number of steps) in which the rate rises."""
    schedule: Schedule = "linear"
    """How the rate falls after that."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively)."""

    def train(self, job: TrainingJob) -> Outcome:
        """Train on unpaired preference rows; metrics say what liked and disliked answers gained.

        With ``eval_rows`` the same is said of answers it has not seen (``eval_*``).
        """
        start = open_start(self, job)
        seen, held = (self._answers(start, rows) for rows in (job.rows, job.eval_rows))
        if seen is None:
            raise ModelError("kto needs at least one unpaired preference row.")
        steps = planned(self, start, job, seen.tokens.lengths)
        others = Mismatched(seen, steps, start.longest) if self.loss_type == "kto" else None
        asked = Forward(start.model)
        before, held_before = (_before(asked, rows) for rows in (seen, held))
        others_before = None if others is None else answer_logprobs(asked, others.tokens)
        policy = wrap_model(job, start.model)
        objective = KtoLoss(self, policy, seen, before, others, others_before)
        result = walk(self, start, job, policy, steps, objective, seen.digest())
        metrics: dict[str, Any] = {
            "loss": result.final_loss, "steps": result.steps,
            "desirable": int(seen.desirable.sum()), "undesirable": int((~seen.desirable).sum()),
            "trainable_parameters": trainable_parameters(policy),
            "dtype": computing_dtype(self.dtype),
        }  # fmt: skip
        metrics |= self._gained("", objective.forward, seen, before)
        metrics |= self._gained("eval_", objective.forward, held, held_before)
        metrics |= save_trained(job, policy, start.tokenizer, seen.tokens)
        return Outcome(metrics, {"seconds": result.seconds})

    def _answers(self, start: Start, rows: Sequence[Row]) -> UnpairedRows | None:
        if not rows:
            return None
        return unpaired_rows(
            start.tokenizer, rows, undecided=self.ties, weights=self.weights, longest=start.longest
        )

    def _gained(
        self, prefix: str, forward: Forward, rows: UnpairedRows | None, before: Logprobs
    ) -> dict[str, float]:
        """Return the mean implicit rewards, and how often a liked answer's is the greater."""
        if rows is None:
            return {}
        moved = self.beta * (answer_logprobs(forward, rows.tokens) - before)
        liked, disliked = moved[rows.desirable], moved[~rows.desirable]
        found = {}
        if len(liked):
            found["reward_desirable"] = float(liked.mean())
        if len(disliked):
            found["reward_undesirable"] = float(disliked.mean())
        if len(liked) and len(disliked):
            found["margin"] = found["reward_desirable"] - found["reward_undesirable"]
            found["accuracy"] = share_above(liked, disliked)
        return {prefix + name: value for name, value in found.items()}


def _before(forward: Forward, rows: UnpairedRows | None) -> Logprobs:
    import numpy as np

    return np.zeros(0, np.float32) if rows is None else answer_logprobs(forward, rows.tokens)


def share_above(liked: Logprobs, disliked: Logprobs) -> float:
    """Return how often one of the first is greater than one of the second; equal counts half."""
    import numpy as np

    ordered = np.sort(disliked)
    below = np.searchsorted(ordered, liked, "left") + np.searchsorted(ordered, liked, "right")
    return float(below.mean() / (2 * len(disliked)))


def kto_loss(moved: Tensor, desirable: Tensor, baseline: Tensor, how: Kto) -> Tensor:
    """Return the loss of each answer (equations 7 and 8), (answers,).

    ``moved`` is log policy/reference; ``baseline`` a scalar of the same unit, without gradient. At
    a baseline of 0 this is the unpaired APO-zero loss (D'Oosterlinck et al. 2024).
    """
    import torch

    gain = torch.where(desirable, moved - baseline, baseline - moved)
    weight = torch.where(desirable, how.desirable_weight, how.undesirable_weight)
    return weight * (1 - (how.beta * gain).sigmoid())


class KtoLoss:
    """The objective for the training loop; its rows are answers."""

    def __init__(
        self,
        how: Kto,
        policy: Any,
        rows: UnpairedRows,
        before: Logprobs,
        others: Mismatched | None,
        others_before: Logprobs | None,
    ) -> None:
        self.how, self.forward, self.rows, self.before = how, Forward(policy), rows, before
        self.others, self.others_before = others, others_before
        self.baseline = 0.0
        self.seen: list[tuple[Tensor, Tensor]] = []

    def begin(self, step: Step) -> None:
        """Estimate how far the policy has moved, before anything of this step is learnt."""
        if self.others is None or self.others_before is None:
            return
        some = self.others.of(step)
        moved = answer_logprobs(self.forward, self.others.tokens, some) - self.others_before[some]
        self.baseline = max(0.0, float(moved.mean()))

    def weight(self, rows: Indices) -> int:
        """Return the number of answers."""
        return len(rows)

    def tokens(self, rows: Indices) -> int:
        """Return the number of tokens, prompts included."""
        return int(self.rows.tokens.lengths[rows].sum())

    def loss(self, rows: Indices) -> Tensor:
        """Return the summed loss of these answers, each times its weight."""
        import torch

        now = logprobs(self.forward, self.rows.tokens, rows).sums()
        moved = now - torch.from_numpy(self.before[rows]).to(now.device)
        desirable = torch.from_numpy(self.rows.desirable[rows]).to(now.device)
        self.seen.append((moved.detach(), desirable))
        losses = kto_loss(moved, desirable, moved.new_tensor(self.baseline), self.how)
        return (losses * torch.from_numpy(self.rows.weight[rows]).to(now.device)).sum()

    def watched(self) -> dict[str, float]:
        """Return the implicit rewards since the last call, and the newest baseline."""
        import torch

        seen, self.seen = self.seen, []
        point = {} if self.others is None else {"kl": self.baseline}
        if not seen:
            return point
        moved, liked = (torch.cat(parts) for parts in zip(*seen, strict=True))
        for name, some in (("desirable", moved[liked]), ("undesirable", moved[~liked])):
            if len(some):
                point[f"reward_{name}"] = self.how.beta * float(some.mean())
        return point


@hookimpl
def register_training_methods() -> list[type[TrainingMethod]]:
    """Offer the method."""
    return [Kto]
