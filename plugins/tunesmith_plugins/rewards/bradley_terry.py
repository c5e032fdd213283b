"""A reward model learnt from comparisons (Bradley & Terry 1952; Ouyang et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunesmith import Outcome, RewardModel, Scorer, TrainingJob, hookimpl
from tunesmith.errors import ModelError
from tunesmith.models import context_length, load_model, load_tokenizer, weights_digest
from tunesmith.training import LoopSettings, Size, plan, run_loop
from tunesmith.training.adapting import save_trained, wrap_model
from tunesmith.training.hardware import Precision, computing_dtype
from tunesmith.training.preference import (
    PairRows,
    Ties,
    Weights,
    pair_rows,
)
from tunesmith.training.preference_losses import bradley_terry_loss, rao_kupper_loss

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .scalar_head import ScalarHead


class BradleyTerry(RewardModel):
    """The model's own trunk with a scalar head, trained on soft labels of pairs."""

    name: ClassVar[str] = "bradley_terry"
    epochs: float = Field(default=3.0, gt=0)
    """How often every pair is seen."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """AdamW's peak rate."""
    batch_size: int = Field(default=16, ge=1)
    """Pairs per step."""
    warmup: float = 0.1
    """Share of the steps in which the rate rises."""
    weight_decay: float = 0.01
    """Decay of the matrices."""
    pooling: Literal["mean", "last"] = "mean"
    """Read the reward off the mean over the answer's tokens, or off the last token."""
    head_gain: float = Field(default=10.0, gt=0)
    """How much faster the new head learns than the trunk."""
    ties: Ties | Literal["rao_kupper"] = "soft"
    """`soft`: a tie is half a label each; `drop`: leave ties out; `rao_kupper`: model them."""
    tie_threshold: float = Field(default=0.5, gt=0)
    """For `rao_kupper`: rewards closer than this are usually called a tie."""
    weights: Weights = "none"
    """Let pairs count by their annotators' `agreement`, by the number of `labels`, or alike."""
    margin: float = Field(default=0.0, ge=0)
    """Reward by which the preferred answer must lead before the loss lets go."""
    center_rewards_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the squared sum of both rewards, which keeps them around 0 (Eisenstein 2023)."""
    dtype: Precision = "auto"
    """Precision of the computation (`auto`: bf16 where the machine computes it natively)."""

    def fit(self, job: TrainingJob) -> Outcome:
        """Train on preference rows; metrics hold the loss and the accuracy on the rows it saw."""
        from .scalar_head import ScalarHead, plain_attention, score_all

        if job.model_dir is None:
            raise ModelError("bradley_terry needs a model to start from.")
        tokenizer = load_tokenizer(job.model_dir)
        pairs = pair_rows(
            tokenizer, job.rows, ties="drop" if self.ties == "drop" else "soft",
            weights=self.weights, longest=context_length(job.model_dir),
        )  # fmt: skip
        net = ScalarHead(wrap_model(job, load_model(job.model_dir)), self.pooling, self.head_gain)
        steps = plan(pairs.lengths, Size(0, self.batch_size), job.seed, epochs=self.epochs)
        key = self._key(job, job.model_dir, pairs)
        with plain_attention(net, int(pairs.tokens.lengths.max()), computing_dtype(self.dtype)):
            result = run_loop(net, steps, _Objective(net, pairs, self), self._settings(), job, key)
        rewards = score_all(net, pairs.tokens)
        metrics: dict[str, Any] = {
            "loss": result.final_loss, "steps": result.steps, "pairs": len(pairs),
            "train_accuracy": accuracy(rewards, pairs.p.tolist()),
            "dtype": computing_dtype(self.dtype),
        }  # fmt: skip
        metrics |= save_trained(job, net.model, tokenizer, pairs.tokens)
        metrics |= self._save_head(net, rewards, job.out)
        return Outcome(metrics, {"seconds": result.seconds})

    def open(self, folder: Path) -> Scorer:
        """Return the scorer; rewards have mean 0 and deviation 1 over the training answers."""
        from .scalar_head import OpenReward

        return OpenReward(folder)

    def _key(self, job: TrainingJob, start: Path, pairs: PairRows) -> dict[str, Any]:
        return {
            "reward": self.model_dump_json(), "origin": weights_digest(start),
            "adapter": job.adapter.model_dump_json() if job.adapter else "",
            "rows": pairs.digest(),
        }  # fmt: skip

    def _settings(self) -> LoopSettings:
        return LoopSettings(
            learning_rate=self.learning_rate, weight_decay=self.weight_decay, warmup=self.warmup,
            schedule="linear", dtype=computing_dtype(self.dtype),
        )  # fmt: skip

    def _save_head(self, net: ScalarHead, rewards: Sequence[float], out: Path) -> dict[str, float]:
        """Write the head with the mean and the deviation of the rewards it was trained on."""
        from .scalar_head import Settings, save_head

        mean = math.fsum(rewards) / len(rewards)
        std = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / len(rewards))
        # Equal rewards carry no scale; a reward model that learnt nothing fails its gate instead.
        save_head(net, Settings(self.pooling, self.head_gain, mean, std or 1.0), out)
        return {"reward_mean": mean, "reward_std": std}


class _Objective:
    """The loss of pairs, for the shared training loop; its rows are pairs."""

    def __init__(self, net: ScalarHead, pairs: PairRows, how: BradleyTerry) -> None:
        self.net, self.pairs, self.how = net, pairs, how

    def weight(self, rows: np.ndarray[Any, Any]) -> int:
        return len(rows)

    def tokens(self, rows: np.ndarray[Any, Any]) -> int:
        return int(self.pairs.tokens.lengths[self.pairs.answers(rows)].sum())

    def loss(self, rows: np.ndarray[Any, Any]) -> Tensor:
        from torch import from_numpy

        from .scalar_head import score_rows

        chosen, rejected = score_rows(self.net, self.pairs.tokens, self.pairs.answers(rows)).chunk(
            2
        )
        p, tied = from_numpy(self.pairs.p[rows]), from_numpy(self.pairs.tied[rows])
        per_pair = self._likelihood(chosen - rejected, p, tied)
        per_pair = per_pair + self.how.center_rewards_coefficient * (chosen + rejected) ** 2
        return (per_pair * from_numpy(self.pairs.weight[rows])).sum()

    def _likelihood(self, gap: Tensor, p: Tensor, tied: Tensor) -> Tensor:
        if self.how.ties == "rao_kupper":
            return rao_kupper_loss(gap, p, tied, self.how.tie_threshold)
        return bradley_terry_loss(gap, p, self.how.margin)


def accuracy(rewards: Sequence[float], p: Sequence[float]) -> float:
    """Return the share of pairs without a draw on which reward and majority agree."""
    gaps = [a - b for a, b in zip(rewards[::2], rewards[1::2], strict=True)]
    right = [(gap > 0) == (share > 0.5) for gap, share in zip(gaps, p, strict=True) if share != 0.5]
    return sum(right) / len(right) if right else math.nan


@hookimpl
def register_reward_models() -> list[type[RewardModel]]:
    """Offer the technique."""
    return [BradleyTerry]
