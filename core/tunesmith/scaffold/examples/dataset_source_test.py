"""The source counts."""

from tunesmith.scaffold.examples.dataset_source import Example


def test_it_yields_as_many_rows_as_asked_for_and_each_is_right() -> None:
    """The answer to `What comes after 2?` is 3."""
    rows = list(Example(count=3).rows())
    assert [row["completion"][0]["content"] for row in rows] == ["1", "2", "3"]
    assert rows[2]["prompt"][0]["content"] == "What comes after 2?"
