"""The selector takes the extremes."""

from random import Random

from tunesmith.scaffold.examples.pair_selector import Example


def test_it_pairs_the_shortest_with_the_longest_in_either_order() -> None:
    """Positions 1 and 2, whichever comes first."""
    found = {Example().choose(["abc", "a", "abcdef"], Random(seed)) for seed in range(30)}
    assert found == {(1, 2), (2, 1)}


def test_equal_answers_make_no_pair() -> None:
    """Nobody could compare them."""
    assert Example().choose(["a", "a"], Random(0)) is None
