"""The method learns."""

from pathlib import Path
from typing import Any

from tunesmith import TrainingJob
from tunesmith.scaffold.examples.training_method import Example

ROW = {
    "prompt": [{"role": "user", "content": "Say kite twice."}],
    "completion": [{"role": "assistant", "content": "kite kite"}],
}


def test_the_loss_falls_and_the_model_is_written(
    tunesmith_tiny_model: Path, tmp_path: Path
) -> None:
    """One row, seen twelve times."""
    curve: list[dict[str, Any]] = []
    out, work = tmp_path / "out", tmp_path / "work"
    job = TrainingJob([ROW], out, work, seed=1, model_dir=tunesmith_tiny_model, report=curve.append)
    outcome = Example(epochs=12, learning_rate=5e-3).train(job)
    assert outcome.metrics["steps"] == len(curve) == 12
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    assert (out / "model.safetensors").is_file()
