"""Statistics give the textbook's and the literature's numbers."""

import gzip
import json
import math
import os
import random
from pathlib import Path

import pytest

from tunesmith.evidence import statistics as st

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).parents[3] / "shared"))


def test_wilson_interval_matches_the_textbook():
    estimate = st.wilson(8, 10)
    assert estimate.value == 0.8
    assert estimate.low == pytest.approx(0.4902, abs=1e-4)
    assert estimate.high == pytest.approx(0.9433, abs=1e-4)


def test_wilson_of_nothing_is_not_a_number():
    assert math.isnan(st.wilson(0, 0).value)


def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says():
    rng = random.Random(5)
    hits = 0
    for seed in range(200):
        sample = [rng.gauss(0.3, 1.0) for _ in range(80)]
        e = st.bootstrap_mean(sample, seed, resamples=600)
        hits += e.low <= 0.3 <= e.high
    assert 180 <= hits <= 198


def test_bootstrap_is_the_same_for_the_same_seed_and_moves_with_another():
    values = [random.Random(i).random() for i in range(50)]
    assert st.bootstrap_mean(values, 1) == st.bootstrap_mean(values, 1)
    assert st.bootstrap_mean(values, 1).low != st.bootstrap_mean(values, 2).low


def test_paired_difference_uses_only_items_both_have():
    e = st.paired_difference({"a": 1.0, "b": 1.0, "x": 0.0}, {"a": 0.0, "b": 1.0, "y": 1.0}, 0)
    assert (e.value, e.n) == (0.5, 2)


def test_pairing_makes_the_interval_narrower_than_the_items_spread():
    rng = random.Random(1)
    base = {str(i): float(rng.random() < 0.5) for i in range(300)}
    model = dict(base)
    for key in list(base)[:10]:
        model[key] = 1.0
    e = st.paired_difference(model, base, 0)
    assert e.high - e.low < 0.04


def test_ties_count_half_a_win():
    assert st.win_rate(4, 2, 4).value == 0.5


def test_cohen_kappa_matches_a_worked_example():
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert st.cohen_kappa(first, second) == pytest.approx(0.4)


def test_agreement_of_people_who_always_say_the_same_is_undefined():
    assert math.isnan(st.cohen_kappa(["a", "a"], ["a", "a"]))
    assert math.isnan(st.krippendorff_alpha([["a", "a"], ["a", "a"]]))


def test_krippendorff_alpha_matches_its_authors_nominal_example():
    observers = [
        "1 2 3 3 2 1 4 1 2 * * *".split(),
        "1 2 3 3 2 2 4 1 2 5 * 3".split(),
        "* 3 3 3 2 3 4 2 2 5 1 *".split(),
        "1 2 3 3 2 4 4 1 2 5 1 *".split(),
    ]
    units = [[o[i] for o in observers if o[i] != "*"] for i in range(12)]
    assert st.krippendorff_alpha(units) == pytest.approx(0.743, abs=1e-3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not on this machine")
def test_agreement_on_pandalm_equals_the_published_figures():
    path = SHARED / "data/preference/pandalm_testset_v1.json.gz"
    rows = json.loads(gzip.open(path).read())
    people = [[str(r[f"annotator{i}"]) for r in rows] for i in (1, 2, 3)]
    units = list(zip(*people, strict=True))
    assert st.krippendorff_alpha(units) == pytest.approx(0.8642, abs=1e-4)
    assert st.cohen_kappa(people[0], people[1]) == pytest.approx(0.8520, abs=1e-4)
    assert st.cohen_kappa(people[0], people[2]) == pytest.approx(0.8789, abs=1e-4)


def test_calibration_error_is_zero_for_a_calibrated_forecast_and_not_for_a_boaster():
    assert st.expected_calibration_error([0.25] * 4, [1, 0, 0, 0]) == 0
    assert st.expected_calibration_error([0.95] * 4, [1, 0, 0, 0]) == pytest.approx(0.7)


def test_spearman_sees_order_and_ignores_scale():
    assert st.spearman([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    assert st.spearman([1, 2, 2, 3], [3, 2, 2, 1]) == pytest.approx(-1)
    assert math.isnan(st.spearman([1, 1], [1, 2]))
