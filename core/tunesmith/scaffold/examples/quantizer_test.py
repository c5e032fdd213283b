"""The quantizer halves a model."""

from pathlib import Path

from tunesmith import load_model
from tunesmith.scaffold.examples.quantizer import Example


def test_it_takes_half_the_bytes_and_changes_weights_by_less_than_a_percent(
    tunesmith_tiny_model: Path, tmp_path: Path
) -> None:
    """bfloat16 keeps eight significant bits."""
    outcome = Example().quantize(tunesmith_tiny_model, tmp_path / "out")
    before = (tunesmith_tiny_model / "model.safetensors").stat().st_size
    assert outcome.metrics["bytes"] < 0.6 * before
    assert 15 < outcome.metrics["bits_per_weight"] < 20
    old, new = load_model(tunesmith_tiny_model), load_model(tmp_path / "out")
    for one, other in zip(old.parameters(), new.parameters(), strict=True):
        assert ((one - other).abs() <= 0.005 * one.abs()).all()
