"""Choosing among smaller models: the budget refuses, the target decides, the front is Pareto's."""

import pytest

from tunesmith.errors import GateRefused
from tunesmith.evidence.choosing import Speed, Trial, front, pick
from tunesmith.evidence.measurements import Measurement


def gap(low, value=0.0, name="maths", n=600):
    return Measurement(name, "small", value, low, value, n, "share", baseline="parent")


def trial(label, size, low=0.0):
    return Trial(label, "llamacpp", "parent", size, 8.0, [gap(low, low / 2)])


SLOW, FAST = Speed(latency=0.010, throughput=100.0), Speed(latency=0.004, throughput=250.0)


def test_the_smallest_within_the_budget_is_taken():
    tried = [trial("q8", 80), trial("q4", 40, low=-0.02), trial("q2", 20, low=-0.2)]
    assert pick(tried, "size", 0.03, {}).label == "q4"
    assert pick(tried, "size", 0.01, {}).label == "q8"


@pytest.mark.parametrize("target", ["latency", "throughput"])
def test_the_fastest_within_the_budget_is_taken(target):
    tried = [trial("q8", 80), trial("lookup", 80), trial("q2", 20, low=-0.2)]
    speeds = {"q8": SLOW, "lookup": FAST, "q2": FAST}
    assert pick(tried, target, 0.03, speeds).label == "lookup"


def test_of_two_that_no_timer_tells_apart_the_smaller_is_taken():
    speeds = {"q8": FAST, "q4": Speed(FAST.latency * 1.02, FAST.throughput * 0.98)}
    tried = [trial("q8", 80), trial("q4", 40)]
    assert pick(tried, "latency", 0.03, speeds).label == "q4"
    assert pick(tried, "throughput", 0.03, speeds).label == "q4"
    speeds["q4"] = Speed(FAST.latency * 1.1, FAST.throughput * 0.9)
    assert pick(tried, "latency", 0.03, speeds).label == "q8"


def test_one_bad_task_is_enough_to_be_refused():
    hurt = Trial("q4", "e", "parent", 40, 4.0, [gap(0.0), gap(-0.04, name="translation")])
    assert not hurt.within(0.03)
    assert hurt.worst.name == "translation"


def test_what_was_not_measured_is_not_within_any_budget():
    assert not Trial("q4", "e", "parent", 40, 4.0).within(0.9)
    assert not trial("q4", 40, low=float("nan")).within(0.9)


def test_few_items_prove_little_even_where_no_answer_changed():
    tried = Trial("q8", "e", "parent", 80, 8.0, [gap(0.0, n=20)])
    assert not tried.within(0.1) and tried.within(0.15)  # 3/20: the rule of three
    assert gap(-0.3, n=20).lowest == -0.3
    assert Measurement("maths", "small", 0.0, 0.0, 0.0, 0).lowest == float("-inf")
    with pytest.raises(GateRefused, match="q4: nothing was measured"):
        pick([Trial("q4", "e", "parent", 40, 4.0)], "size", 0.03, {})


def test_when_all_lose_too_much_every_number_is_told():
    with pytest.raises(GateRefused, match=r"budget of 3 points") as refused:
        pick([trial("q4", 40, low=-0.1), trial("q2", 20, low=-0.2)], "size", 0.03, {})
    assert "q4: -5.0 [-10.0, -5.0] points on 600 items of maths against parent" in str(
        refused.value
    )
    assert "q2: -10.0 [-20.0, -10.0] points on 600 items of maths" in str(refused.value)


def test_the_front_holds_what_nothing_dominates():
    points = [(3.0, 0.0), (1.0, -2.0), (2.0, -3.0), (4.0, 0.0), (1.5, -1.0)]
    assert front(points) == [1, 4, 0]


def test_of_equal_points_one_is_on_the_front():
    assert front([(1.0, 0.0), (1.0, 0.0)]) == [0]
