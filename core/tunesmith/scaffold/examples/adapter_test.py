"""The adapter lets the norms learn."""

from pathlib import Path

import pytest

from tunesmith import ModelError, load_model
from tunesmith.scaffold.examples.adapter import Example


def test_only_the_norms_learn(tunesmith_tiny_model: Path) -> None:
    """Everything else is frozen."""
    model = Example().wrap(load_model(tunesmith_tiny_model))
    learning = [name for name, one in model.named_parameters() if one.requires_grad]
    assert learning and all("norm" in name for name in learning)
    assert len(learning) < len(list(model.parameters()))


def test_a_name_that_no_parameter_has_is_refused(tunesmith_tiny_model: Path) -> None:
    """It says which."""
    with pytest.raises(ModelError, match="'nothing'"):
        Example(part="nothing").wrap(load_model(tunesmith_tiny_model))
