"""Training on preference pairs, for any loss that compares two answers.

A method gives the loss of a pair whose first answer is the better one. Labels are soft: a pair's
loss is the expectation over its labels, `p` times the loss of one order plus `1 - p` times that of
the other. With one label per pair that is the published loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tunesmith.errors import ModelError
from tunesmith.records import Outcome, Row, TrainingJob
from tunesmith.training.adapting import save_trained, trainable_parameters, wrap_model
from tunesmith.training.direct import (
    DirectOptions,
    Logprobs,
    Start,
    answer_logprobs,
    open_start,
    planned,
    walk,
)
from tunesmith.training.hardware import computing_dtype
from tunesmith.training.logprobs import logprobs
from tunesmith.training.losses import Forward
from tunesmith.training.preference import PairRows, Ties, Weights, pair_rows
from tunesmith.training.preference_losses import Answers, soft

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.training.batches import Indices


class PairMethod(DirectOptions, Protocol):
    """A method that compares the two answers of a pair."""

    reference: ClassVar[bool]
    """Whether it compares with the starting model, whose log-probabilities are asked for once."""

    @property
    def ties(self) -> Ties:
        """What to do with ties."""
        ...

    @property
    def weights(self) -> Weights:
        """How much pairs count."""
        ...

    def losses(self, better: Answers, worse: Answers) -> Tensor:
        """Return the loss of pairs labelled so, (pairs,)."""
        ...

    def rewards(self, answers: Answers) -> Tensor:
        """Return the rewards that are implicit in the policy, (answers,)."""
        ...


def train_on_pairs(how: PairMethod, job: TrainingJob) -> Outcome:
    """Train on preference rows; metrics say how far apart the answers of a pair are after it.

    With ``eval_rows`` the same is said of pairs it has not seen (``eval_*``).
    """
    start = open_start(how, job)
    seen, held = (_pairs(how, start, rows) for rows in (job.rows, job.eval_rows))
    if seen is None:
        raise ModelError(f"{how.name} needs at least one preference row.")
    before, held_before = (_before(how, start, pairs) for pairs in (seen, held))
    policy = wrap_model(job, start.model)
    objective = PairObjective(how, policy, seen, before)
    steps = planned(how, start, job, seen.lengths)
    result = walk(how, start, job, policy, steps, objective, seen.digest())
    metrics: dict[str, Any] = {
        "loss": result.final_loss, "steps": result.steps, "pairs": len(seen),
        "trainable_parameters": trainable_parameters(policy),
        "dtype": computing_dtype(how.dtype),
    }  # fmt: skip
    metrics |= _apart("", how, objective.forward, seen, before)
    metrics |= _apart("eval_", how, objective.forward, held, held_before)
    metrics |= save_trained(job, policy, start.tokenizer, seen.tokens)
    return Outcome(metrics, {"seconds": result.seconds})


def _pairs(how: PairMethod, start: Start, rows: Sequence[Row]) -> PairRows | None:
    if not rows:
        return None
    return pair_rows(
        start.tokenizer, rows, ties=how.ties, weights=how.weights, longest=start.longest
    )


def _before(how: PairMethod, start: Start, pairs: PairRows | None) -> Logprobs:
    """Return the reference's log-probabilities; asked once, so no second model is kept."""
    import numpy as np

    if pairs is None or not how.reference:
        return np.zeros(0 if pairs is None else len(pairs.tokens), np.float32)
    return answer_logprobs(Forward(start.model), pairs.tokens)


def _apart(
    prefix: str, how: PairMethod, forward: Forward, pairs: PairRows | None, before: Logprobs
) -> dict[str, float]:
    """Return how often and by how much the implicit reward prefers the chosen answers."""
    import numpy as np
    import torch

    if pairs is None:
        return {}
    rows = np.arange(len(pairs))
    now = torch.from_numpy(answer_logprobs(forward, pairs.tokens)[pairs.answers(rows)])
    sides = (how.rewards(side).numpy() for side in both_answers(now, pairs, rows, before))
    chosen, rejected = sides
    decided = pairs.p != 0.5
    right = (chosen > rejected) == (pairs.p > 0.5)
    return {
        f"{prefix}accuracy": float(right[decided].mean()) if decided.any() else float("nan"),
        f"{prefix}margin": float((chosen - rejected).mean()),
        f"{prefix}reward_chosen": float(chosen.mean()),
        f"{prefix}reward_rejected": float(rejected.mean()),
    }


def both_answers(
    now: Tensor, pairs: PairRows, rows: Indices, before: Logprobs
) -> tuple[Answers, Answers]:
    """Return the chosen and the rejected answers of pairs; ``now`` is as `PairRows.answers`."""
    import torch

    answers = pairs.answers(rows)
    theirs = torch.from_numpy(before[answers]).to(now.device).chunk(2)
    tokens = torch.from_numpy(pairs.tokens.targets[answers]).to(now.device).chunk(2)
    chosen, rejected = map(Answers, now.chunk(2), theirs, tokens)
    return chosen, rejected


@dataclass(slots=True)
class _Watched:
    """Sums over the decided pairs of the newest steps."""

    pairs: float = 0.0
    right: float = 0.0
    margin: float = 0.0


class PairObjective:
    """The objective for the training loop; its rows are pairs."""

    def __init__(self, how: PairMethod, policy: Any, pairs: PairRows, before: Logprobs) -> None:
        self.how, self.forward, self.pairs, self.before = how, Forward(policy), pairs, before
        self.seen = _Watched()

    def weight(self, rows: Indices) -> int:
        """Return the number of pairs."""
        return len(rows)

    def tokens(self, rows: Indices) -> int:
        """Return the number of tokens of both answers, their prompts included."""
        return int(self.pairs.tokens.lengths[self.pairs.answers(rows)].sum())

    def loss(self, rows: Indices) -> Tensor:
        """Return the summed loss of these pairs, each times its weight."""
        import torch

        now = logprobs(self.forward, self.pairs.tokens, self.pairs.answers(rows)).sums()
        chosen, rejected = both_answers(now, self.pairs, rows, self.before)
        p = torch.from_numpy(self.pairs.p[rows]).to(now.device)
        self._watch(chosen, rejected, p)
        losses = soft(self.how.losses(chosen, rejected), self.how.losses(rejected, chosen), p)
        return (losses * torch.from_numpy(self.pairs.weight[rows]).to(now.device)).sum()

    def _watch(self, chosen: Answers, rejected: Answers, p: Tensor) -> None:
        gap = (self.how.rewards(chosen) - self.how.rewards(rejected)).detach()
        decided = p != 0.5
        self.seen.pairs += float(decided.sum())
        self.seen.right += float((((gap > 0) == (p > 0.5)) & decided).sum())
        self.seen.margin += float(gap[decided].sum())

    def watched(self) -> dict[str, float]:
        """Return accuracy and margin since the last call, for the curves."""
        seen, self.seen = self.seen, _Watched()
        if not seen.pairs:
            return {}
        return {"accuracy": seen.right / seen.pairs, "margin": seen.margin / seen.pairs}
