"""Splits stay put, groups stay together, and the card says what is in them."""

import pytest

from tunesmith import DataError
from tunesmith.errors import ConfigError
from tunesmith.splits import data_card, filtered, split_rows
from tunesmith_plugins.filters.exact_dedup import ExactDedup
from tunesmith_plugins.filters.normalise import Normalise

SHARES = {"test": 0.1, "validation": 0.05, "prompts": 0.2}


def row(number, **more):
    prompt = [{"role": "user", "content": f"question {number}"}]
    return {
        "prompt": prompt,
        "completion": [{"role": "assistant", "content": f"a{number}"}],
        **more,
    }


def where(splits):
    return {r["prompt"][0]["content"]: name for name, rows in splits.items() for r in rows}


def test_shares_are_met_and_every_row_has_an_id_and_a_split():
    splits = split_rows([row(n) for n in range(4000)], SHARES, seed=7)
    for name, share in {**SHARES, "train": 0.65}.items():
        assert abs(len(splits[name]) / 4000 - share) < 0.02
        assert all(r["split"] == name and r["id"] for r in splits[name])


def test_rows_stay_in_their_split_when_rows_are_added_removed_or_reordered():
    before = where(split_rows([row(n) for n in range(300)], SHARES, seed=7))
    after = where(split_rows([row(n) for n in range(600, 20, -1)], SHARES, seed=7))
    assert all(after[question] == split for question, split in before.items() if question in after)
    assert before != where(split_rows([row(n) for n in range(300)], SHARES, seed=8))


def test_a_group_is_never_separated_nor_are_answers_to_one_prompt():
    grouped = [row(n, group=f"g{n % 40}") for n in range(400)]
    same = [row(n % 40) | {"id": str(n)} for n in range(400)]
    for rows, key in ((grouped, lambda r: r["group"]), (same, lambda r: r["prompt"][0]["content"])):
        splits = split_rows(rows, SHARES, seed=1)
        assert data_card(splits)["overlap"] == 0
        homes = {}
        for name, members in splits.items():
            for member in members:
                assert homes.setdefault(key(member), name) == name


def test_rows_that_bring_a_split_keep_it_and_take_their_group_along():
    rows = [row(n, group="g") for n in range(50)]
    rows[17]["split"] = "test"
    assert len(split_rows(rows, SHARES, seed=1)["test"]) == 50


def test_a_group_in_two_splits_and_an_unknown_split_are_refused():
    with pytest.raises(DataError, match="group 'g' is also in train"):
        split_rows([row(1, group="g", split="train"), row(2, group="g", split="test")], {}, 0)
    with pytest.raises(DataError, match="Did you mean 'validation'"):
        split_rows([row(1, split="valid")], {}, 0)


def test_shares_that_make_no_sense_are_refused():
    for shares, words in (({"tset": 0.1}, "Did you mean 'test'"), ({"test": 1.5}, "below 1")):
        with pytest.raises(ConfigError, match=words):
            split_rows([], shares, 0)
    with pytest.raises(ConfigError, match="nothing to train on"):
        split_rows([], {"test": 0.6, "prompts": 0.5}, 0)


def test_the_card_counts_rows_tasks_lengths_drops_and_shows_examples():
    rows = [row(n % 8, task="maths_reasoning") for n in range(10)]
    kept, drops = filtered(rows, [Normalise(), ExactDedup()])
    assert drops == {"normalise": 0, "exact_dedup": 2}
    card = data_card(split_rows(kept, {}, 0), drops)
    assert card["rows"]["train"] == 8
    assert card["tasks"]["train"] == {"maths_reasoning": 8}
    assert card["types"]["train"] == {"prompt-completion": 8}
    assert card["lengths"]["train"]["completion"] == {"characters": {"2": 8}, "words": {"1": 8}}
    assert card["dropped"]["exact_dedup"] == 2
    assert len(card["examples"]["train"]["maths_reasoning"]) == 3
