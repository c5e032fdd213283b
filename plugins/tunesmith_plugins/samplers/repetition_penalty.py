"""Repetition penalty: make every token that has already appeared less probable, once.

Source: Keskar, McCann, Varshney, Xiong and Socher, "CTRL: A Conditional Transformer Language Model
for Controllable Generation", 2019, section 4.1, https://arxiv.org/abs/1909.05858. The paper
divides every logit; a negative one would gain by that, so it is multiplied, as in transformers and
llama.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from tunesmith import Sampler, hookimpl
from tunesmith.generation.drawing import reshaper
from tunesmith.nesting import Nested

if TYPE_CHECKING:
    from torch import Tensor


class RepetitionPenalty(Sampler):
    """Weaken the tokens of the prompt and of the answer so far, then hand over to a sampler."""

    name = "repetition_penalty"

    penalty: float = Field(default=1.2, gt=0, allow_inf_nan=False)
    """What a positive logit is divided by and a negative one multiplied by; below 1 it rewards."""
    sampler: Annotated[Sampler, Nested()] = Field(
        default={"name": "random"},  # type: ignore[arg-type]
        validate_default=True,
    )
    """What reshapes the penalised logits: any sampler that picks token by token, also `greedy`."""

    @field_validator("sampler")
    @classmethod
    def _picks_tokens(cls, sampler: Sampler) -> Sampler:
        if sampler.searches:
            raise ValueError(f"{sampler.name} chooses among whole answers and sees no penalty")
        return sampler

    def __call__(  # type: ignore[override]
        self, logits: Tensor, tokens: list[list[int]]
    ) -> Tensor:
        """Return the inner sampler's logits, shape (batch, vocabulary); ``tokens`` per row."""
        import torch

        seen = torch.zeros_like(logits, dtype=torch.bool)
        for row, ids in enumerate(tokens):
            seen[row, ids] = True
        weaker = torch.where(logits < 0, logits * self.penalty, logits / self.penalty)
        out = reshaper(self.sampler)(torch.where(seen, weaker, logits), tokens)
        return out if self.sampler.draws else _only_largest(out)

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say it as llama.cpp and vLLM do, where the inner sampler can be said.

        llama.cpp's -1 is the whole context; vLLM counts prompt and answer anyway.
        """
        inner = self.sampler.engine_options(engine)
        if engine == "vllm" and inner is not None:
            # Penalties of penalties: vLLM has room for one.
            return None if "repetition_penalty" in inner else {
                **inner, "repetition_penalty": self.penalty
            }  # fmt: skip
        if engine != "llamacpp" or inner is None:
            return None
        return {
            **inner,
            "samplers": ["penalties", *inner["samplers"]],
            "repeat_penalty": self.penalty,
            "repeat_last_n": -1,
        }


def _only_largest(logits: Tensor) -> Tensor:
    """Return logits from which nothing but the largest can be drawn."""
    import torch

    best = logits.argmax(dim=-1, keepdim=True)
    return torch.full_like(logits, float("-inf")).scatter(-1, best, logits.gather(-1, best))


@hookimpl
def register_samplers() -> list[type[Sampler]]:
    """Offer the technique."""
    return [RepetitionPenalty]
