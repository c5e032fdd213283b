"""Beam search: follow the most probable beginnings together and answer with the best whole.

Source: Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks", NeurIPS
2014, section 3.2, https://arxiv.org/abs/1409.3215. Scores, stopping and candidates are those of
transformers' ``generate(num_beams=...)``, whose length penalty divides by ``length ** penalty``
(Wu et al. 2016, section 7, https://arxiv.org/abs/1609.08144: ``((5 + length) / 6) ** penalty``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tunesmith import Completion, Generation, ModelError, Sampler, hookimpl
from tunesmith.generation.batching import fixed_batches
from tunesmith.generation.cache import can_drop_rows
from tunesmith.generation.drawing import check_logits
from tunesmith.generation.reference import Batch, completion, evaluating, lay_out

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Beam(Sampler):
    """Keep the best few beginnings at every step; nothing is left to chance."""

    name = "beam"
    draws = False
    searches = True

    num_beams: int = Field(default=4, ge=2)
    """Beginnings followed together; `greedy` is the search with one."""
    length_penalty: float = Field(default=1.0, allow_inf_nan=False)
    """A whole answer's log-probability is divided by its length to this power: above 0 longer
    answers gain, at 0 the most probable answer wins, below 0 shorter ones gain."""
    early_stopping: bool | Literal["never"] = False
    """`true`: stop once `num_beams` answers are whole; `false`: go on while a beginning, scored at
    its present length, beats the worst of them; `never`: go on while one still could."""

    def search(
        self,
        model: PreTrainedModel,
        prompts: Sequence[list[int]],
        how: Generation,
        decode: Callable[[list[int]], str],
    ) -> list[Completion]:
        """Return each prompt's best answer; ``how.batch_size`` counts beginnings, not prompts.

        Raises ModelError for a model whose cache cannot be reordered, for a vocabulary too small
        for the beams, and for logits that are not numbers.
        """
        found: dict[int, list[int]] = {}
        with evaluating(model):
            for rows in fixed_batches(prompts, max(1, how.batch_size // self.num_beams)):
                batch = lay_out(
                    model, [prompts[i] for i in rows], [how.seeds[i] for i in rows], how
                )
                found.update(zip(rows, self._answers(batch, how), strict=True))
        return [completion(found[i], how, decode) for i in range(len(prompts))]

    def _answers(self, batch: Batch, how: Generation) -> list[list[int]]:
        """Return the new ids of each of a batch's prompts."""
        import torch

        if not can_drop_rows(batch.cache):
            raise ModelError(
                f"Beam search must reorder the model's cache, and that of"
                f" {type(batch.model).__name__} cannot be. Use another sampler."
            )
        searches = [_Search(self, how) for _ in batch.texts]
        live = searches
        scores = torch.zeros(len(live), device=batch.inputs.device)
        for _ in range(how.max_new_tokens):
            for one, candidates in zip(live, self._candidates(batch, scores, live), strict=True):
                one.step(candidates)
            rows, tokens, scores = _next(live, len(batch.inputs) // len(live), scores)
            live = [one for one in live if not one.over]
            if not live:
                break
            if rows != list(range(len(batch.inputs))):
                batch.keep(rows)
            batch.inputs = torch.tensor(tokens, device=batch.inputs.device).unsqueeze(1)
        return [one.whole[0].ids for one in searches]

    def _candidates(
        self, batch: Batch, scores: Tensor, live: Sequence[_Search]
    ) -> Iterator[list[tuple[float, int, int]]]:
        """Yield each search's best continuations: score, which beginning, token; best first."""
        logits = batch.logits()
        check_logits(logits)
        vocabulary, wanted = logits.shape[1], live[0].candidates
        if wanted > vocabulary:
            raise ModelError(
                f"{self.num_beams} beams compare {wanted} continuations at every step, but the"
                f" vocabulary has {vocabulary} tokens. Lower num_beams."
            )
        total = (logits.log_softmax(dim=-1) + scores.unsqueeze(1)).view(len(live), -1)
        best = total.topk(wanted, dim=-1)
        for values, places in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            yield [
                (value, *divmod(place, vocabulary))
                for value, place in zip(values, places, strict=True)
            ]


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Some tokens and their log-probability; ``parent`` is the beginning they continue."""

    score: float
    ids: list[int]
    parent: int


@dataclass(slots=True)
class _Search:
    """One prompt's beginnings and whole answers, both best first."""

    beam: Beam
    how: Generation
    running: list[_Beginning] = field(default_factory=lambda: [_Beginning(0.0, [], 0)])
    whole: list[_Beginning] = field(default_factory=list)
    over: bool = False

    @property
    def candidates(self) -> int:
        """How many continuations leave ``num_beams`` unfinished even if every stop token is one."""
        return max(2, 1 + len(set(self.how.stop_ids))) * self.beam.num_beams

    def step(self, candidates: list[tuple[float, int, int]]) -> None:
        """Continue by one token."""
        width, longest = self.beam.num_beams, self.how.max_new_tokens
        length = len(self.running[0].ids) + 1
        running: list[_Beginning] = []
        for rank, (score, parent, token) in enumerate(candidates):
            ids = [*self.running[parent].ids, token]
            if token not in self.how.stop_ids and length < longest:
                running.append(_Beginning(score, ids, parent))
            # A worse one is a candidate only so that enough beginnings go on.
            elif rank < width:
                self.whole.append(_Beginning(score / self._divisor(length), ids, parent))
        self.running = running[:width]
        self.whole = sorted(self.whole, key=lambda one: -one.score)[:width]
        self.over = length == longest or not self._may_improve(length)

    def _may_improve(self, length: int) -> bool:
        if len(self.whole) < self.beam.num_beams:
            return True
        if self.beam.early_stopping is True:
            return False
        # A log-probability only falls, so that its best mean is reached at the greatest length.
        if self.beam.early_stopping == "never" and self.beam.length_penalty > 0:
            length = self.how.max_new_tokens
        return self.running[0].score / self._divisor(length) > self.whole[-1].score

    def _divisor(self, length: int) -> float:
        return float(length**self.beam.length_penalty)


def _next(
    live: Sequence[_Search], width: int, scores: Tensor
) -> tuple[list[int], list[int], Tensor]:
    """Return which rows go on, with which token, and their scores; ``width`` rows per search."""
    rows, tokens, sums = [], [], []
    for place, one in enumerate(live):
        for beginning in [] if one.over else one.running:
            rows.append(place * width + beginning.parent)
            tokens.append(beginning.ids[-1])
            sums.append(beginning.score)
    return rows, tokens, scores.new_tensor(sums)


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [Beam]
