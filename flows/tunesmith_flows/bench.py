"""What a stage is given to work with: its config, its inputs, a place for its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import stages
from tunesmith.records import Report, Row
from tunesmith.stagekeys import stage_seed

if TYPE_CHECKING:
    from tunesmith.config import Lifecycle
    from tunesmith.store import Artifact, Store

ShowSamples = Callable[[str, list[dict[str, Any]]], None]
"""Receives what a model answered: ``("tuned", [{"item", "prompt", "answer", ...}, ...])``."""


def _nothing(*_: Any) -> None:
    """Show nobody."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Bench:
    """The place one stage works at.

    ``out`` is an empty folder that becomes the artifact; ``work`` outlives a kill, and is gone once
    the artifact is stored; ``inputs`` holds the artifacts of the stages that this one reads. The
    store is there for the two stages that meet people and the registry; no other touches it.
    """

    stage: str
    config: Lifecycle
    out: Path
    work: Path
    inputs: dict[str, Artifact] = field(default_factory=dict)
    run_id: str = ""
    store: Store | None = None
    report: Report = _nothing
    show_samples: ShowSamples = _nothing
    should_stop: Callable[[], bool] = _never

    @property
    def seed(self) -> int:
        """Return this stage's own seed, 0 to 2**31; stages never share a random stream."""
        return stage_seed(self.config.seed, self.stage)

    def rows(self, split: str) -> list[Row]:
        """Return one split of the prepared rows."""
        return read_json_lines(self.inputs["prepare"].path / f"{split}.jsonl")

    def base(self) -> Path | None:
        """Return the folder of the model the run begins with; None for one made from scratch."""
        from tunesmith.models import resolve_model

        return None if self.config.model == "scratch" else resolve_model(self.config.model)

    def model(self) -> Path:
        """Return the folder of the newest model among the inputs, else the base."""
        newest = stages.last_model(self.inputs)
        folder = self.inputs[newest].path if newest else self.base()
        if folder is None:
            raise RuntimeError(f"{self.stage} has no model to start from")
        return folder

    def model_name(self) -> str:
        """Return what the evidence calls the newest model among the inputs."""
        newest = stages.last_model(self.inputs)
        return stages.MODELS[newest] if newest else "base"


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one object per line; equal objects give equal bytes."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


def whole_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file that is then either there and whole, or not there."""
    part = path.with_name(f"{path.name}.part")
    write(part)
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write one value, indented, keys sorted."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
