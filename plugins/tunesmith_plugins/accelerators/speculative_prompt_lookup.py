"""Prompt lookup: what followed these words before is guessed to follow them again.

Source: Saxena, "Prompt Lookup Decoding", 2023,
https://github.com/apoorvumang/prompt-lookup-decoding. The model checks a whole guess in one step,
and keeps of it what it would have said anyway, so that only the number of steps changes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from tunesmith import Accelerator, hookimpl


class SpeculativePromptLookup(Accelerator):
    """Guess several tokens from the text itself and check them at once; answers stay the same."""

    name = "speculative_prompt_lookup"
    engines: ClassVar[tuple[str, ...]] = ("transformers", "llamacpp")

    tokens: int = Field(default=8, ge=1, le=64)
    """Longest guess, in tokens."""
    after: int = Field(default=3, ge=1, le=16)
    """Tokens that must have stood in the text before. `transformers` tries fewer where so many did
    not, but no single one; `llamacpp` does not guess there."""

    def options(self) -> dict[str, Any]:
        """Return the engine options that switch it on."""
        return {"lookup": self.tokens, "lookup_after": self.after}


@hookimpl
def register_accelerators() -> list[type[Accelerator]]:
    """Offer the technique."""
    return [SpeculativePromptLookup]
