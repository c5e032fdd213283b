"""The evaluator measures lengths."""

from tunesmith import Answer, Evidence
from tunesmith.scaffold.examples.evaluator import Example


def test_it_gives_the_mean_length_with_an_interval_around_it() -> None:
    """Answers of 2, 4 and 6 tokens."""
    answers = [
        Answer("tuned", "sums", f"item-{n}", "?", "!", 1.0, True, tokens=n) for n in (2, 4, 6)
    ]
    (found,) = Example().measure(Evidence(answers=answers))
    assert (found.value, found.n, found.unit) == (4.0, 3, "tokens")
    assert round(found.low, 2) == 1.74 and round(found.high, 2) == 6.26
