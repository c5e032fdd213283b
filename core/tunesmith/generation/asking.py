"""An open model that prompt styles ask: every draw hangs on its row, its call and its number."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.chat import encode_prompt
from tunesmith.errors import ModelError, PluginError
from tunesmith.generation.answers import answer_ids
from tunesmith.records import Completion, Generation, Message, Report
from tunesmith.techniques import OpenEngine, Sampler, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class Asker:
    """One style's way to one model: implements `Ask` for the rows of one task.

    ``rows`` are the names of the rows, in the order in which the style will ask; ``context`` is how
    many tokens the model holds, None where it states no limit.
    """

    engine: OpenEngine
    tokenizer: PreTrainedTokenizerBase
    stops: tuple[int, ...]
    context: int | None
    style: str
    task: Task
    rows: Sequence[str]
    sampler: Sampler
    seed: int
    report: Report | None = None
    should_stop: Callable[[], bool] | None = None
    calls: int = 0
    seconds: float = 0.0
    """What generating took so far."""
    read: int = 0
    """Tokens of all prompts so far; a prompt that is sampled eight times counts eight times."""
    written: int = 0
    """New tokens so far."""

    def __call__(
        self,
        conversations: Sequence[list[Message]],
        sampler: Sampler | None = None,
        n: int = 1,
        max_new_tokens: int | None = None,
    ) -> list[list[Completion]]:
        """Return ``n`` completions per conversation, in order; see `Ask`."""
        longest = max_new_tokens or self.task.max_new_tokens
        prompts = self._prompts(conversations, longest)
        self.calls += 1
        seeds = [
            sample_seed(self.seed, row, self.calls, number)
            for row in self.rows
            for number in range(n)
        ]
        many = [prompt for prompt in prompts for _ in range(n)]
        said = [conversation for conversation in conversations for _ in range(n)]
        drawn = sampler or self.sampler
        how = Generation(drawn, longest, range(0), self.stops, conversations=said)
        began = time.monotonic()
        done = answer_ids(self.engine, many, how, seeds, self.report, self.should_stop)
        self.seconds += time.monotonic() - began
        self.read += sum(map(len, many))
        self.written += sum(len(one.ids) for one in done)
        return [done[start : start + n] for start in range(0, len(done), n)]

    def _prompts(self, conversations: Sequence[list[Message]], longest: int) -> list[list[int]]:
        if len(conversations) != len(self.rows):
            raise PluginError(
                f"The style {self.style} asked {len(conversations)} conversations for"
                f" {len(self.rows)} rows; it must ask one per row, in their order."
            )
        prompts = [encode_prompt(self.tokenizer, one) for one in conversations]
        if self.context is not None:
            self._check([len(prompt) for prompt in prompts], longest, self.context)
        return prompts

    def _check(self, lengths: Sequence[int], new: int, context: int) -> None:
        over = [number for number, length in enumerate(lengths) if length + new > context]
        if over:
            worst = max(over, key=lengths.__getitem__)
            raise ModelError(
                f"The style {self.style} writes prompts of up to {lengths[worst]:,} tokens for"
                f" {self.task.name} (row {self.rows[worst]}); with an answer of {new} they exceed"
                f" the model's context of {context:,}, in {len(over)} of {len(lengths)} rows."
                " Show fewer shots, lower max_new_tokens, or leave long rows out."
            )


def sample_seed(seed: int, row: str, call: int, sample: int) -> int:
    """Return the seed of one draw, 63 bits: it stays when rows or samples come or go."""
    digest = hashlib.sha256(f"{seed}:{row}:{call}:{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
