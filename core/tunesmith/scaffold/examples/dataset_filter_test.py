"""The filter drops what it should, and nothing else."""

from tunesmith.scaffold.examples.dataset_filter import Example


def test_it_drops_the_rows_with_a_phrase_and_keeps_the_others_in_order() -> None:
    """Case does not matter."""
    rows = [{"text": "One."}, {"text": "Lorem Ipsum dolor."}, {"text": "Two."}]
    assert list(Example().apply(rows)) == [rows[0], rows[2]]
    assert list(Example(phrases=("two",)).apply(rows)) == rows[:2]
