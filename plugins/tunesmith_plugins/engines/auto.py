"""The engine that is fastest here: measured once per machine, model shape and workload.

It chooses among the engines that run a model at its own precision and whose greedy answers are the
reference's. A lifecycle asks it when it is planned; what it chose stands in the run's config.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith import Engine, OpenEngine, Sampler, hookimpl, plugins


class Auto(Engine):
    """Choose the fastest engine by measurement, at the model's own precision."""

    name = "auto"

    streams: int = Field(default=32, ge=1, le=256)
    """Answers written together while it is measured."""
    prompt: int = Field(default=64, ge=1)
    """Tokens of each prompt."""
    new: int = Field(default=32, ge=1)
    """New tokens of each answer."""
    among: tuple[str | dict[str, Any], ...] = ()
    """The engines to choose among, by name or with options; none named: all that are installed."""

    def chosen(self, model: Path, sampler: Sampler) -> Engine:
        """Return the fastest engine for a model and a sampler; it is measured once."""
        from tunesmith.generation.engine_choice import choose
        from tunesmith.generation.racing import Workload

        spec = {"name": sampler.name, **sampler.model_dump(mode="json")}
        workload = Workload(self.streams, self.prompt, self.new, spec)
        return choose(model, workload, self.among).engine

    @contextmanager
    def open(self, model: Path) -> Iterator[OpenEngine]:
        """Open the folder on the engine that is fastest for greedy answers."""
        from tunesmith.generation.exporting import readable

        engine = self.chosen(model, plugins.build(Sampler, "greedy"))
        with tempfile.TemporaryDirectory(prefix="tunesmith-auto-") as scratch:
            folder = readable(engine, model, Path(scratch) / "model")
            with engine.open(folder) as opened:
                yield opened

    def reads(self, model: Path) -> bool:
        """Say whether any engine reads the folder."""
        from tunesmith.generation.engine_choice import installed

        return any(one.reads(model) for one, _ in installed(self.among))


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the technique."""
    return [Auto]
