"""Checkpoints that survive a kill at any instant.

A checkpoint is one file, written beside its final name, flushed to disk and renamed: after a kill
there is either the old one or the new one, whole. Random state needs no place in it, because the
loop seeds every step from the run's seed and the step's number.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ModelError, StoreError

if TYPE_CHECKING:
    from torch.optim import Optimizer

NAME = "checkpoint.pt"
EVERY = 30.0
"""Seconds between checkpoints, stretched when writing one is slow; 0 writes one every step."""
_MOST_OF_THE_TIME = 0.02
"""Largest share of a run's time that writing checkpoints may take."""


@dataclass(slots=True)
class Checkpointer:
    """Writes and reads the one checkpoint of a work folder.

    ``key`` says what the run depends on; a checkpoint with another key is refused, not resumed.
    """

    folder: Path
    key: dict[str, Any]
    model: Any
    optimisers: list[Optimizer]
    _last: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    @property
    def path(self) -> Path:
        """Where the checkpoint lies."""
        return self.folder / NAME

    def due(self) -> bool:
        """Say whether it is time to write again."""
        pause = max(EVERY, self._cost / _MOST_OF_THE_TIME) if EVERY > 0 else 0.0
        return time.monotonic() - self._last >= pause

    def write(self, step: int, history: list[float]) -> None:
        """Store the state after ``step`` steps, atomically."""
        started = time.monotonic()
        state = {
            "key": self.key,
            "step": step,
            "history": history,
            "parameters": self._parameters(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        write_atomically(state, self.path)
        self._last = time.monotonic()
        self._cost = self._last - started

    def read(self) -> tuple[int, list[float]]:
        """Restore the newest state and return (steps done, loss history); (0, []) if there is none.

        Raises ModelError when the file is damaged or belongs to another run.
        """
        for torn in self.folder.glob("checkpoint.*.tmp"):
            torn.unlink()  # left by a kill in the middle of writing
        if not self.path.is_file():
            return 0, []
        state = read_state(self.path)
        if state.get("key") != self.key:
            raise ModelError(
                f"{self.path} belongs to a run with other rows, options or seed."
                " Delete it to start again, or give this run a work folder of its own."
            )
        self._restore(state)
        return int(state["step"]), [float(value) for value in state["history"]]

    def _parameters(self) -> dict[str, Any]:
        trainable = ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)
        return {name: parameter.detach() for name, parameter in trainable}

    def _restore(self, state: dict[str, Any]) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self._parameters().items():
                parameter.copy_(state["parameters"][name])
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(stored)


def write_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a torch state so that ``path`` is always absent or whole; StoreError if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        _write_durably(state, temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise StoreError(f"Cannot write the checkpoint {path}: {error}. Free some disk.") from error


def _write_durably(state: dict[str, Any], path: Path) -> None:
    import torch

    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # The new name is durable only once the folder that holds it is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_state(path: Path) -> dict[str, Any]:
    """Read a state without running anything it may hold; ModelError when it is damaged."""
    import pickle

    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} is damaged. Delete it to start this stage again.") from error
    return state
