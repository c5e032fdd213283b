"""Best of n: draw several answers and keep the one that is judged best.

Sources: Adiwardana et al., "Towards a Human-like Open-Domain Chatbot", 2020 (sample and rank, by
the model's own probability), https://arxiv.org/abs/2001.09977; Stiennon et al., "Learning to
Summarize from Human Feedback", NeurIPS 2020 (by a reward model), https://arxiv.org/abs/2009.01325.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from tunesmith import Completion, Generation, ModelError, RewardModel, Sampler, hookimpl
from tunesmith.generation.answers import row_seed
from tunesmith.generation.reference import generate
from tunesmith.generation.scoring import score_logprobs
from tunesmith.nesting import Nested

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BestOfN(Sampler):
    """Draw n answers; keep the one whose tokens the model, or a reward model, finds best."""

    name = "best_of_n"
    searches = True

    n: int = Field(default=4, ge=1)
    """Answers drawn per prompt. Those for a smaller n are among them, and the first is the answer
    that `sampler` alone gives."""
    sampler: Annotated[Sampler, Nested()] = Field(
        default={"name": "random"},  # type: ignore[arg-type]
        validate_default=True,
    )
    """What draws them."""
    reward: Path | None = None
    """A folder that a reward model was fitted in: its highest score wins. Without one it is the
    model's own mean log-probability per token, whatever `sampler` did to it."""
    reward_model: Annotated[RewardModel, Nested()] = Field(
        default={"name": "bradley_terry"},  # type: ignore[arg-type]
        validate_default=True,
    )
    """How the folder `reward` is read."""

    @field_validator("sampler")
    @classmethod
    def _draws(cls, sampler: Sampler) -> Sampler:
        if sampler.searches or not sampler.draws:
            raise ValueError(
                f"{sampler.name} would give the same answer n times; name one that draws"
            )
        return sampler

    def problems(self) -> list[str]:
        """Refuse a reward model that is not there before anything runs."""
        if self.reward is None or self.reward.is_dir():
            return []
        return [f"best_of_n.reward: there is no folder {self.reward}."]

    def fingerprint(self) -> str:
        """Return the reward model's digest: another one chooses other answers."""
        return "" if self.reward is None else _digest(self.reward)

    def search(
        self,
        model: PreTrainedModel,
        prompts: Sequence[list[int]],
        how: Generation,
        decode: Callable[[list[int]], str],
    ) -> list[Completion]:
        """Return the best answer to each prompt; among equals, the first that was drawn."""
        asked = [prompt for prompt in prompts for _ in range(self.n)]
        # The first draws from the row's own seed, as the sampler alone would.
        seeds = [row_seed(seed, at) if at else seed for seed in how.seeds for at in range(self.n)]
        drawn = generate(model, asked, replace(how, sampler=self.sampler, seeds=seeds), decode)
        worth = self._rewards(how, drawn) if self.reward else _mean_logprobs(model, asked, drawn)
        starts = range(0, len(drawn), self.n)
        return [drawn[max(range(at, at + self.n), key=worth.__getitem__)] for at in starts]

    def _rewards(self, how: Generation, drawn: Sequence[Completion]) -> list[float]:
        if self.reward is None or any(isinstance(one, str) for one in how.conversations):
            raise ModelError("A reward model scores answers to conversations, not to plain text.")
        if len(how.conversations) * self.n != len(drawn):
            raise ModelError(
                "best_of_n with a reward model must know what the prompts say; this request has"
                " token ids only. Leave `reward` out, or pass Generation.conversations."
            )
        said = [one for one in how.conversations if not isinstance(one, str) for _ in range(self.n)]
        return self.reward_model.open(self.reward)(said, [one.text for one in drawn])


def _mean_logprobs(
    model: PreTrainedModel, asked: Sequence[list[int]], drawn: Sequence[Completion]
) -> list[float]:
    """Return each answer's mean log-probability per token, stop token included."""
    ids = [[*prompt, *one.ids] for prompt, one in zip(asked, drawn, strict=True)]
    scores = score_logprobs(model, ids, [len(prompt) for prompt in asked])
    return [score.total / len(score.per_token) for score in scores]


def _digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        hasher.update(path.name.encode() + b"\0" + content)
    return hasher.hexdigest()


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [BestOfN]
