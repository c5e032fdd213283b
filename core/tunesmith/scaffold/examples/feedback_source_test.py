"""The rule judges by length."""

import pytest

from tunesmith import Pair
from tunesmith.scaffold.examples.feedback_source import Example


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [("a b", "a b c d e", "first"), ("a", "a b", "second"), ("a", "a b c", "tie")],
)
def test_the_answer_nearer_to_the_wished_length_wins(first: str, second: str, verdict: str) -> None:
    """Two words are wished for."""
    pair = Pair("1", "", [{"role": "user", "content": "?"}], first, second, {})
    assert Example(words=2).judge([pair], seed=0)[0].verdict == verdict
