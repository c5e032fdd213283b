"""OpenAI's sampling parameters, as a sampler of ours.

The order is fixed: temperature, top_k, top_p, min_p, each on what the one before it left over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from tunesmith import plugins
from tunesmith.nesting import Nested
from tunesmith.records import Spec
from tunesmith.techniques import Sampler

if TYPE_CHECKING:
    from torch import Tensor


class Chain(Sampler):
    """Several samplers, one after the other; only the first may have a temperature."""

    name = "chain"

    samplers: tuple[Annotated[Sampler, Nested()], ...]
    """What reshapes the logits, in order; none of them looks at the tokens."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits after every sampler, shape (batch, vocabulary)."""
        for sampler in self.samplers:
            logits = sampler(logits)
        return logits

    def engine_options(self, engine: str) -> dict[str, Any] | None:
        """Say the chain as llama.cpp does, where every part can be said."""
        first, *others = (sampler.engine_options(engine) for sampler in self.samplers)
        if engine != "llamacpp" or first is None:
            return None
        merged = dict(first)
        for said in others:
            if said is None:
                return None
            stages = [stage for stage in said["samplers"] if stage != "temperature"]
            kept = {key: value for key, value in said.items() if key != "temperature"}
            merged = {**merged, **kept, "samplers": [*merged["samplers"], *stages]}
        return merged


def sampler_of(
    temperature: float | None, top_p: float | None, top_k: int | None, min_p: float | None
) -> Sampler:
    """Return the sampler of a request; None and the neutral values (1, 1, 0, 0) change nothing.

    Temperature 0 is greedy, whatever else is given: the most probable token is in every nucleus.
    """
    warmth = 1.0 if temperature is None else temperature
    if warmth == 0:
        return plugins.build(Sampler, "greedy")
    parts: list[Spec] = []
    if top_k:
        parts.append({"name": "top_k", "k": top_k})
    if top_p is not None and top_p < 1:
        parts.append({"name": "top_p", "p": top_p})
    if min_p:
        parts.append({"name": "min_p", "p": min_p})
    if not parts:
        return plugins.build(Sampler, {"name": "temperature", "temperature": warmth})
    parts[0] = {**parts[0], "temperature": warmth}
    built = [plugins.build(Sampler, part) for part in parts]
    return built[0] if len(built) == 1 else Chain(samplers=tuple(built))
