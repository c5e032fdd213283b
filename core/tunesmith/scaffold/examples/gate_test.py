"""The gate refuses what has become worse."""

import pytest

from tunesmith import Measurement
from tunesmith.scaffold.examples.gate import Example


@pytest.mark.parametrize(
    ("low", "high", "passed"), [(-0.2, 0.1, True), (0.1, 0.3, True), (-0.3, -0.1, False)]
)
def test_only_a_significant_loss_is_refused(low: float, high: float, passed: bool) -> None:
    """An interval that holds 0 shows nothing."""
    value = (low + high) / 2
    change = Measurement("sums", "tuned", value, low, high, n=40, baseline="base")
    verdict = Example().decide([change])
    assert verdict.passed is passed
    assert verdict.measurements == ("sums/tuned-vs-base",)


def test_no_comparison_is_refused_too() -> None:
    """Missing evidence never passes."""
    assert not Example().decide([]).passed
