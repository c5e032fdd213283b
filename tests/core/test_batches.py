"""Which rows make up a step: all of them, once an epoch, hardly padded, always the same."""

import numpy as np
import pytest
from tests.tiny_models import tiny_model

from tunesmith import DataError
from tunesmith.chat import Rendered
from tunesmith.models import load_tokenizer
from tunesmith.training import Size, TokenRows, plan
from tunesmith.training.batches import share_of_padding
from tunesmith.training.encoding import encode_rows
from tunesmith.training.optimisers import rate
from tunesmith.training.packing import fit_documents


def test_every_row_is_seen_once_an_epoch_and_hardly_anything_is_padding():
    lengths = np.random.default_rng(0).integers(5, 200, 500)
    made = plan(lengths, Size(2048, micro_tokens=1024), 1, epochs=2)
    seen = np.concatenate([rows for step in made for rows in step])
    assert np.bincount(seen).tolist() == [2] * 500
    assert share_of_padding(lengths, made) < 0.03
    assert max(len(r) * lengths[r].max() for s in made for r in s) <= 1024
    first = [int(lengths[step[0]].max()) for step in made[:10]]
    assert first != sorted(first)


def test_a_plan_depends_on_seed_and_rows_alone():
    lengths = np.random.default_rng(0).integers(5, 200, 100)
    flat = [
        np.concatenate([r for s in plan(lengths, Size(512), seed, epochs=1) for r in s]).tolist()
        for seed in (1, 1, 2)
    ]
    assert flat[0] == flat[1] != flat[2]


def test_budgets_in_steps_tokens_and_rows():
    lengths = np.full(100, 10)
    assert len(plan(lengths, Size(100), 0, steps=37)) == 37
    by_tokens = plan(lengths, Size(100), 0, tokens=2500)
    assert sum(int(lengths[r].sum()) for s in by_tokens for r in s) == 2500
    by_rows = plan(lengths, Size(1, rows=8), 0, epochs=1)
    assert sorted(sum(len(r) for r in s) for s in by_rows) == [4] + [8] * 12
    with pytest.raises(DataError, match="no rows"):
        plan(np.array([], dtype=np.int64), Size(100), 0, epochs=1)


def test_documents_are_packed_or_stand_alone_and_none_is_lost():
    rng = np.random.default_rng(3)
    texts = [[int(t) for t in rng.integers(5, 99, rng.integers(2, 40))] + [1] for _ in range(200)]
    rows = TokenRows.build(Rendered(ids, [True] * len(ids)) for ids in texts)
    alone = fit_documents(rows, 64, 0.0, seed=0)
    assert alone.digest() == rows.digest()
    full = fit_documents(rows, 64, 1.0, seed=0)
    assert set(full.lengths[:-1]) == {64}
    assert sorted(full.ids.tolist()) == sorted(rows.ids.tolist())
    mixed = fit_documents(rows, 16, 0.5, seed=0)
    assert mixed.lengths.max() == 16
    assert not mixed.supervised[mixed.starts[:-1]].any()
    assert mixed.supervised.sum() == len(mixed.ids) - len(mixed)


def test_long_rows_are_dropped_and_counted():
    tokenizer = load_tokenizer(tiny_model())
    rows = [{"text": "a kite"}, {"text": "a kite " * 50}]
    encoded = encode_rows(tokenizer, rows, 32)
    assert (len(encoded.rows), encoded.too_long) == (1, 1)
    with pytest.raises(DataError, match="All 2 rows are longer than 2 tokens"):
        encode_rows(tokenizer, rows, 2)


def test_rates_rise_then_fall():
    assert rate(0, 100, 10, "cosine") == pytest.approx(1 / 11)
    assert rate(10, 100, 0.1, "cosine") == 1.0
    assert rate(99, 100, 0, "linear") == pytest.approx(0.01)
    assert rate(99, 100, 0, "constant") == 1.0
    assert rate(55, 100, 0, "trapezoid") == 1.0
    assert rate(80, 100, 0, "trapezoid") == pytest.approx(0.5)
