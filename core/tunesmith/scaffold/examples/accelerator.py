"""Small models run faster on few threads: waiting for each other costs more than it saves."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from tunesmith import Accelerator, hookimpl


class Example(Accelerator):
    """Let llama.cpp compute on this many threads; answers stay the same."""

    name = "example"
    engine: ClassVar[str] = "llamacpp"
    threads: int = Field(default=1, ge=1)
    """How many threads compute one model."""

    def options(self) -> dict[str, Any]:
        """Return the engine's option."""
        return {"threads": self.threads}


@hookimpl
def register_accelerators() -> list[type[Accelerator]]:
    """Offer the accelerator."""
    return [Example]
