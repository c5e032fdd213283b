"""The task scores by the words of the reference."""

import pytest

from tunesmith import DataError
from tunesmith.scaffold.examples.task import Example

ROW = {"id": "1", "reference": {"answer": "a red kite"}}


@pytest.mark.parametrize(
    ("answer", "value"), [("It was a RED kite!", 1.0), ("A kite.", 2 / 3), ("", 0.0)]
)
def test_it_gives_the_share_of_words_that_are_there(answer: str, value: float) -> None:
    """Only an answer with all of them is correct."""
    score = Example().score(ROW, answer)
    assert score.value == pytest.approx(value)
    assert score.correct is (value == 1.0)


def test_a_row_without_a_reference_is_an_error_of_the_data() -> None:
    """It is named."""
    with pytest.raises(DataError, match="Row 7"):
        Example().score({"id": "7"}, "anything")
