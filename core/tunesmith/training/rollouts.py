"""What a policy says when asked, scored: the data of one step of policy optimisation.

Everything about a step depends on its number, the seed and the weights, so that a step which was
interrupted is drawn again token for token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.chat import Rendered, encode_prompt
from tunesmith.errors import DataError, ModelError
from tunesmith.generation.reference import Decode, generate
from tunesmith.records import Completion, Generation, Message, Row, Scorer
from tunesmith.scorers import score_rows
from tunesmith.techniques import Sampler
from tunesmith.training.batches import TokenRows

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts as rows, messages and token ids, and how many were too long to be answered."""

    rows: list[Row]
    messages: list[list[Message]]
    ids: list[list[int]]
    too_long: int

    def digest(self) -> str:
        """Return a sha256 over the token ids, and over what a rule compares answers with."""
        known = [(row.get("task"), row.get("reference")) for row in self.rows]
        return hashlib.sha256(f"{self.ids!r} {known!r}".encode()).hexdigest()

    def token_rows(self) -> TokenRows:
        """Return the prompts as token rows without anything to learn."""
        return TokenRows.build(Rendered(ids, [False] * len(ids)) for ids in self.ids)


def read_prompts(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], longest_answer: int, context: int
) -> Prompts:
    """Render the prompts of rows; those that leave no room for an answer are dropped and counted.

    Raises DataError when none is left.
    """
    messages = [list(row["prompt"]) for row in rows]
    ids = [encode_prompt(tokenizer, one) for one in messages]
    # One more token: the reward model reads an end of turn even where the policy wrote none.
    fits = [len(one) + longest_answer + 1 <= context for one in ids]
    if not any(fits):
        raise DataError(
            f"None of the {len(rows)} prompts leaves room for {longest_answer} tokens in a context"
            f" of {context}. Lower max_completion_length or give shorter prompts."
        )
    kept = [i for i, fit in enumerate(fits) if fit]
    return Prompts(
        [rows[i] for i in kept],
        [messages[i] for i in kept],
        [ids[i] for i in kept],
        len(rows) - len(kept),
    )


def prompts_of_step(count: int, per_step: int, step: int, seed: int) -> list[int]:
    """Return which prompts a step asks: every prompt once, in a new order each time round."""
    import numpy as np

    chosen: list[int] = []
    for place in range(step * per_step, (step + 1) * per_step):
        epoch, at = divmod(place, count)
        chosen.append(int(np.random.default_rng([seed, epoch]).permutation(count)[at]))
    return chosen


@dataclass(frozen=True, slots=True)
class Rollout:
    """The completions of one step, those of one prompt together, with their rewards (rows,)."""

    asked: list[int]
    """Which prompt each completion answers."""
    completions: list[Completion]
    tokens: TokenRows
    """Prompt and completion; the completion's tokens are supervised."""
    rewards: Tensor

    @property
    def truncated(self) -> float:
        """Share of completions that hit the length limit."""
        return sum(c.finish == "length" for c in self.completions) / len(self.completions)


@dataclass(frozen=True, slots=True)
class Asker:
    """Draws the rollouts of every step."""

    prompts: Prompts
    per_step: int
    answers: int
    sampler: Sampler
    longest: int
    stop_ids: tuple[int, ...]
    decode: Decode
    reward: Scorer
    seed: int
    learn_truncated: bool = True

    def ask(self, model: Any, step: int) -> Rollout:
        """Sample this step's completions and score them; ModelError for a reward that is no number.

        ``model`` is a plain model: generation knows nothing of adapters.
        """
        some = prompts_of_step(len(self.prompts.ids), self.per_step, step, self.seed)
        asked = [prompt for prompt in some for _ in range(self.answers)]
        seeds = [_row_seed(self.seed, step, row) for row in range(len(asked))]
        how = Generation(self.sampler, self.longest, seeds, self.stop_ids)
        said = generate(model, [self.prompts.ids[i] for i in asked], how, self.decode)
        return Rollout(asked, said, self._tokens(asked, said), self._rewards(asked, said))

    def _tokens(self, asked: list[int], said: list[Completion]) -> TokenRows:
        rows = []
        for prompt, completion in zip(asked, said, strict=True):
            before = self.prompts.ids[prompt]
            learn = self.learn_truncated or completion.finish == "stop"
            mask = [False] * len(before) + [learn] * len(completion.ids)
            rows.append(Rendered([*before, *completion.ids], mask))
        return TokenRows.build(rows)

    def _rewards(self, asked: list[int], said: list[Completion]) -> Tensor:
        import torch

        rows, texts = [self.prompts.rows[i] for i in asked], [one.text for one in said]
        rewards = torch.tensor(score_rows(self.reward, rows, texts), dtype=torch.float32)
        if rewards.shape != (len(said),) or not bool(rewards.isfinite().all()):
            raise ModelError(
                f"The reward must give {len(said)} finite numbers for {len(said)} completions;"
                f" got {rewards.tolist()[:8]}."
            )
        return rewards


def _row_seed(seed: int, step: int, row: int) -> int:
    digest = hashlib.sha256(f"{seed}/{step}/{row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
