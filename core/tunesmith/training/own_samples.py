"""Learning on what the student says itself: generalised knowledge distillation, step by step.

Agarwal et al. 2024 (GKD, arXiv 2306.13649), algorithm 1: each step draws whether its answers are
the student's own (with probability lambda) or given ones, and the divergence from the teacher is
taken at every token of those answers. No gradient flows through the sampling.

Rows are numbered through the whole training: step s asks rows s * batch to (s + 1) * batch - 1.
What is drawn hangs on the seed and that number, and on the weights, so that a step which was
interrupted is drawn again token for token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.chat import Prompt, Rendered, encode_prompt, render_rows
from tunesmith.errors import DataError
from tunesmith.generation.answers import row_seed
from tunesmith.generation.reference import Decode, generate
from tunesmith.records import Completion, Generation, Row
from tunesmith.techniques import Adapter, Sampler
from tunesmith.training.batches import Indices, Size, Step, TokenRows, plan
from tunesmith.training.divergences import Divergence
from tunesmith.training.rollouts import prompts_of_step
from tunesmith.training.speaking import speaker
from tunesmith.training.teaching import SoftLoss

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Material:
    """Prompts as ids, the same rows whole where answers are given, and how many were too long."""

    prompts: list[list[int]]
    given: list[Rendered]
    too_long: int

    def digest(self) -> str:
        """Return a sha256 over all tokens."""
        return self.token_rows().digest()

    def token_rows(self) -> TokenRows:
        """Return all rows with their given answers, or the bare prompts, as token rows."""
        bare = (Rendered(ids, [False] * len(ids)) for ids in self.prompts)
        return TokenRows.build(self.given or bare)


def read_material(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    longest_answer: int,
    context: int,
    *,
    given: bool,
) -> Material:
    """Render rows, with their answers if those are ``given``; too long ones are dropped, counted.

    Raises DataError for rows without a prompt, or without a completion that is wanted, and when
    none is left.
    """
    wanted = ("prompt", "completion") if given else ("prompt",)
    for number, row in enumerate(rows):
        if not all(column in row for column in wanted):
            raise DataError(
                f"Row {number} has the columns {sorted(row)}; it needs {' and '.join(wanted)}."
            )
    asked: list[Prompt] = [row["prompt"] for row in rows]
    prompts = [encode_prompt(tokenizer, one) for one in asked]
    whole = render_rows(tokenizer, rows) if given else []
    fits = [len(one) + longest_answer <= context for one in prompts]
    if given:
        fits = [fit and len(one.ids) <= context for fit, one in zip(fits, whole, strict=True)]
    kept = [number for number, fit in enumerate(fits) if fit]
    if not kept:
        raise DataError(
            f"None of the {len(rows)} prompts leaves room for {longest_answer} tokens in a context"
            f" of {context}. Lower max_new_tokens or give shorter prompts."
        )
    answers = [whole[i] for i in kept] if given else []
    return Material([prompts[i] for i in kept], answers, len(rows) - len(kept))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers come about; names as in TRL's GKDConfig."""

    lmbda: float
    """Share of steps whose answers the student writes itself."""
    seq_kd: bool
    """Whether the teacher writes the others'."""
    sampler: Sampler
    max_new_tokens: int
    stop_ids: tuple[int, ...]
    batch: int
    seed: int

    def by_student(self, step: int) -> bool:
        """Say whether the student writes the answers of a step."""
        # One stream per seed and step; the third number keeps it apart from those of the prompts.
        import numpy as np

        return bool(np.random.default_rng([self.seed, step, 1]).random() < self.lmbda)


def plan_samples(material: Material, how: Sampling, steps: int, vocabulary: int) -> list[Step]:
    """Return the micro-batches of every step, sized by how long their answers may become."""
    import numpy as np

    room = [len(ids) + how.max_new_tokens for ids in material.prompts]
    if material.given:
        room = [max(a, len(b.ids)) for a, b in zip(room, material.given, strict=True)]
    size, made = Size(0, how.batch).for_vocabulary(vocabulary), []
    for step in range(steps):
        asked = prompts_of_step(len(room), how.batch, step, how.seed)
        micros = plan(np.array([room[one] for one in asked]), size, 0, epochs=1.0)[0]
        made.append([rows + step * how.batch for rows in micros])
    return made


class OwnSamples(SoftLoss):
    """The objective: `begin` lets somebody answer a step's prompts, `loss` learns from that."""

    def __init__(
        self,
        student: Any,
        teacher: PreTrainedModel,
        material: Material,
        how: Sampling,
        divergence: Divergence,
        adapter: Adapter | None,
        decode: Decode,
    ) -> None:
        super().__init__(student, teacher, TokenRows.build([]), divergence)
        self.material, self.how = material, how
        self.adapter, self.decode = adapter, decode
        self.first = 0
        self.seen: dict[str, float] = {}

    def begin(self, step: Step) -> None:
        """Draw the answers of a step."""
        number = int(min(rows.min() for rows in step)) // self.how.batch
        self.first = number * self.how.batch
        asked = prompts_of_step(len(self.material.prompts), self.how.batch, number, self.how.seed)
        own = self.how.by_student(number)
        if not own and not self.how.seq_kd:
            self._take([self.material.given[one] for one in asked], own=False, cut=0.0)
            return
        model = speaker(self.forward, self.adapter) if own else speaker(self.teacher, None)
        prompts = [self.material.prompts[one] for one in asked]
        said = self.ask(model, prompts, range(self.first, self.first + self.how.batch))
        rows = [answered(prompt, words) for prompt, words in zip(prompts, said, strict=True)]
        cut = sum(words.finish == "length" for words in said) / len(said)
        self._take(rows, own=own, cut=cut)

    def ask(
        self, model: Any, prompts: Sequence[list[int]], numbers: Sequence[int]
    ) -> list[Completion]:
        """Return a model's answers to prompts; each number is a random stream."""
        seeds = [row_seed(self.how.seed, number) for number in numbers]
        how = Generation(self.how.sampler, self.how.max_new_tokens, seeds, self.how.stop_ids)
        return generate(model, prompts, how, self.decode)

    def own_answers(self, prompts: Sequence[list[int]]) -> TokenRows:
        """Return what the student answers to other prompts now, the answers supervised."""
        # Streams of their own: no training row has a negative number.
        numbers = [-1 - at for at in range(len(prompts))]
        said = self.ask(speaker(self.forward, self.adapter), prompts, numbers)
        return TokenRows.build(answered(*pair) for pair in zip(prompts, said, strict=True))

    def _take(self, rows: list[Rendered], *, own: bool, cut: float) -> None:
        self.rows = TokenRows.build(rows)
        self.seen = {
            "student_made": float(own),
            "completion_length": float(self.rows.targets.mean()),
            "truncated": cut,
        }

    def watched(self) -> dict[str, float]:
        """Return what the last step's answers were like."""
        return dict(self.seen)

    def weight(self, rows: Indices) -> int:
        """Return the number of answer tokens."""
        return super().weight(rows - self.first)

    def tokens(self, rows: Indices) -> int:
        """Return the number of tokens; 0 for another step's rows, whose answers are forgotten."""
        here = rows - self.first
        return super().tokens(here[(here >= 0) & (here < len(self.rows))])

    def loss(self, rows: Indices) -> Tensor:
        """Return the divergence summed over the answers' tokens, in nats."""
        return super().loss(rows - self.first)


def answered(prompt: list[int], said: Completion) -> Rendered:
    """Return the very tokens of an answer, to be learnt, after its prompt."""
    return Rendered([*prompt, *said.ids], [False] * len(prompt) + [True] * len(said.ids))
