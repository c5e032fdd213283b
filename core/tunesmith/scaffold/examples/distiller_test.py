"""The student comes nearer to the teacher."""

from pathlib import Path
from typing import Any

from tunesmith import TrainingJob, load_model, load_tokenizer, save_model
from tunesmith.scaffold.examples.distiller import Example

ROW = {
    "prompt": [{"role": "user", "content": "Say kite twice."}],
    "completion": [{"role": "assistant", "content": "kite kite"}],
}


def test_the_divergence_from_the_teacher_falls(tunesmith_tiny_model: Path, tmp_path: Path) -> None:
    """The teacher is the student with louder embeddings."""
    model: Any = load_model(tunesmith_tiny_model)
    model.get_input_embeddings().weight.data *= 8
    save_model(model, load_tokenizer(tunesmith_tiny_model), tmp_path / "teacher")
    curve: list[dict[str, Any]] = []
    job = TrainingJob(
        [ROW], tmp_path / "out", tmp_path, 1, model_dir=tunesmith_tiny_model, report=curve.append
    )
    Example(epochs=12, learning_rate=5e-3).distil(tmp_path / "teacher", job)
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    assert load_model(job.out).num_parameters() == model.num_parameters()
