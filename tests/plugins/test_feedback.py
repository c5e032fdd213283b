"""Who judges pairs, and what becomes of their labels."""

import json
from collections import Counter
from random import Random

import pytest

from tunesmith import DataError, Label, Pair, Waiting
from tunesmith.preferences import ceiling, comparable, hold_out, preference_rows, worth_gap
from tunesmith_plugins.feedback.human import Human
from tunesmith_plugins.feedback.label_file import LabelFile
from tunesmith_plugins.feedback.simulated import Annotator, Simulated
from tunesmith_plugins.feedback.worth import parts, sentences
from tunesmith_plugins.pairs.random_pair import RandomPair
from tunesmith_plugins.sources.nano import world

WISH = {"mood": "happy", "sentences": 3, "thing": "kite"}
PLAIN = "Mia had a kite. She smiled and danced. The sun went down."
LIVELY = (
    'Mia had a kite that shone like gold. "I am so glad," said Mia, and smiled.'
    " From that day on, Mia was happy."
)


def pair(first, second, number=0, task="creative_writing", reference=None):
    prompt = [{"role": "user", "content": f"Write a happy story, number {number}."}]
    return Pair(
        f"pair-{number}", task, prompt, first, second, WISH if reference is None else reference
    )


def one(**options):
    return Simulated(annotators=(Annotator(name="only", **options),))


# Pairs


def test_a_random_pair_has_two_different_answers():
    for seed in range(50):
        i, j = RandomPair().choose(["a", "a ", "b", "a"], Random(seed))
        assert {"a", "b"} == {["a", "a", "b", "a"][i], ["a", "a", "b", "a"][j]}


def test_answers_that_differ_in_white_space_alone_make_no_pair():
    assert RandomPair().choose(["a b", " a  b\n"], Random(0)) is None
    assert RandomPair().choose(["a"], Random(0)) is None


def test_every_different_pair_and_order_comes_up():
    seen = {RandomPair().choose(["a", "b", "c"], Random(seed)) for seed in range(200)}
    assert len(seen) == 6


# What an answer is worth


def test_a_lively_story_is_worth_one_point_per_lively_part():
    source = Simulated()
    gap = source.utility(pair(LIVELY, PLAIN), LIVELY) - source.utility(pair(LIVELY, PLAIN), PLAIN)
    assert gap == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ("thing", PLAIN.replace("kite", "drum")),
        ("mood", PLAIN.replace("smiled and danced", "sat there")),
        ("sentences", PLAIN.replace(" The sun went down.", "")),
    ],
)
def test_a_wish_that_is_not_fulfilled_costs_points(part, answer):
    assert parts(WISH, answer)[part] < parts(WISH, PLAIN)[part] == 1.0


def test_saying_things_twice_and_breaking_off_cost_points():
    source = Simulated()
    twice = "Mia had a kite. She smiled and danced. She smiled and danced."
    assert source.utility(pair(twice, PLAIN), twice) < source.utility(pair(twice, PLAIN), PLAIN)
    assert parts(WISH, PLAIN[:-1])["unfinished"] == 1.0


def test_words_inside_other_words_do_not_count():
    found = parts({"mood": "sad", "thing": "hat"}, "That saddle chattered on a scarf.")
    assert (found["mood"], found["thing"]) == (0.0, 0.0)


def test_speech_does_not_end_its_sentence():
    assert len(sentences('"Stop! I am afraid," said Tom. The end came.')) == 3
    assert len(sentences('"I am so glad!" said Tom. The end came.')) == 2


def test_stories_of_the_nano_world_are_read_as_they_were_told():
    for item in world.items("stories", "train", 200, 3):
        found = parts(item.reference, item.answer)
        assert found["thing"] == found["sentences"] == 1.0, item.answer
        assert found["unfinished"] == 0.0 and found["mood"] >= 0.5, item.answer


def test_a_task_with_an_answer_is_judged_by_its_own_scorer():
    source, right = (
        Simulated(),
        pair("The answer is 505.", "504", 0, "maths_reasoning", {"answer": "505"}),
    )
    assert source.utility(right, right.first) == source.correct
    assert source.utility(right, right.second) == 0.0


def test_a_pair_without_a_reference_is_judged_by_how_it_is_told():
    free = pair(LIVELY, "No", 0, "", {})
    assert Simulated().utility(free, LIVELY) > Simulated().utility(free, "No")


# Simulated annotators


def many(count=3000):
    return [pair(LIVELY, PLAIN.replace("down", f"down {i}"), i) for i in range(count)]


def test_annotators_err_as_often_as_their_noise_says():
    # A gap of 3 points, temperature 3, no ties: right in sigmoid(1) = 73.1 % of the labels.
    labels = one(temperature=3.0, tie=0.0).judge(many(), 1)
    share = sum(label.verdict == "first" for label in labels) / len(labels)
    assert share == pytest.approx(0.731, abs=0.025)


def test_ties_come_as_often_as_the_threshold_says():
    source = one(temperature=1.0, tie=2.0)
    first, second = source.annotators[0].chances(3.0, "first")
    seen = Counter(label.verdict for label in source.judge(many(), 1))
    assert seen["first"] / 3000 == pytest.approx(first, abs=0.03)
    assert seen["tie"] / 3000 == pytest.approx(1 - first - second, abs=0.03)


def test_position_bias_favours_the_left():
    labels = one(temperature=1.0, tie=0.0, position_bias=2.0).judge(
        [pair(PLAIN, PLAIN.replace("Mia", "Leo"), i) for i in range(2000)], 1
    )
    left = sum(label.verdict == label.shown_first for label in labels) / len(labels)
    assert left == pytest.approx(0.881, abs=0.03)  # sigmoid(2)
    assert 900 < sum(label.shown_first == "first" for label in labels) < 1100


def test_taste_moves_the_verdict_and_not_the_utility():
    source = one(temperature=0.01, tie=0.0, taste={"speech": -9.0})
    assert {label.verdict for label in source.judge(many(20), 1)} == {"second"}
    assert source.utility(many(1)[0], LIVELY) == Simulated().utility(many(1)[0], LIVELY)


def test_a_tie_between_two_poor_answers_is_both_bad():
    bad = [pair("no", "yes", i) for i in range(20)]
    assert {label.verdict for label in one(tie=5.0, temperature=0.1).judge(bad, 1)} == {"both_bad"}


def test_labels_depend_on_seed_and_pair_and_not_on_the_order():
    pairs = many(40)
    labels = Simulated().judge(pairs, 5)
    backwards = Simulated().judge(pairs[::-1], 5)
    assert sorted(labels, key=str) == sorted(backwards, key=str)
    assert Simulated().judge(pairs[7:9], 5) == labels[21:27]
    assert Simulated(annotators=(Simulated().annotators[1],)).judge(pairs, 5) == labels[1::3]
    assert Simulated().judge(many(400), 6) != Simulated().judge(many(400), 5)


def test_three_annotators_judge_by_default_and_say_that_they_are_simulated():
    labels = Simulated().judge(many(1), 0)
    assert len({label.annotator for label in labels}) == 3
    assert Simulated.simulated and all(label.source == "simulated" for label in labels)
    assert all("simulated" in label.annotator for label in labels)


def test_unknown_parts_and_nobody_are_refused_before_anything_runs():
    assert "spech" in one(taste={"spech": 1.0}).problems()[0]
    assert Simulated(annotators=()).problems() and not Simulated().problems()


# People and files


def test_people_cannot_be_called_like_a_function():
    assert Human.waits and not Human.simulated
    with pytest.raises(Waiting, match="tunesmith dashboard"):
        Human().judge(many(2), 0)


def labels_in(tmp_path, *records):
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return LabelFile(path=path)


def test_a_label_file_gives_the_labels_of_known_pairs(tmp_path):
    source = labels_in(
        tmp_path,
        {"pair_id": "pair-1", "annotator": "eve", "verdict": "second", "shown_first": "second"},
        {"pair_id": "elsewhere", "verdict": "tie"},
    )
    assert source.judge(many(3), 0) == [
        Label("pair-1", "eve", "second", shown_first="second", source="label_file")
    ]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"pair_id": "pair-0", "verdict": "frist"}, "Did you mean 'first'"),
        ({"pair": "pair-0", "verdict": "first"}, "Did you mean 'pair_id'"),
        ({"verdict": "first"}, "no `pair_id`"),
        ({"pair_id": "other", "verdict": "first"}, "None of the 1 labels"),
        (["first"], "not a JSON object"),
    ],
)
def test_a_label_that_cannot_be_used_is_named(tmp_path, record, says):
    with pytest.raises(DataError, match=says):
        labels_in(tmp_path, record).judge(many(1), 0)


def test_a_second_label_by_the_same_annotator_is_refused(tmp_path):
    label = {"pair_id": "pair-0", "annotator": "eve", "verdict": "first"}
    with pytest.raises(DataError, match=":2: 'eve' labels pair"):
        labels_in(tmp_path, label, label).judge(many(1), 0)


def test_bytes_that_are_not_utf8_and_a_missing_file_are_named(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"pair_id": "\xff"}\n')
    with pytest.raises(DataError, match=r"labels\.jsonl:1 is not a JSON line in UTF-8"):
        LabelFile(path=path).judge(many(1), 0)
    assert "there is no file" in LabelFile(path=tmp_path / "none").problems()[0]


# From labels to rows


def votes(*verdicts, number=0):
    return [Label(f"pair-{number}", f"a{i}", verdict) for i, verdict in enumerate(verdicts)]


def test_a_row_keeps_the_share_of_labels_and_who_gave_them():
    (row,) = preference_rows(many(1), votes("second", "second", "first", "skip"))
    assert row["chosen"][0]["content"] == many(1)[0].second
    assert (row["p_first"], row["n"], row["tie"]) == (pytest.approx(2 / 3), 3, False)
    assert row["votes"] == {"a0": "chosen", "a1": "chosen", "a2": "rejected"}
    assert row["agreement"] == pytest.approx(1 / 3)


def test_a_tie_counts_half_and_both_bad_may_be_left_out():
    (row,) = preference_rows(many(1), votes("first", "tie", "both_bad"))
    assert row["p_first"] == pytest.approx(2 / 3)
    (row,) = preference_rows(many(1), votes("first", "tie", "both_bad"), both_bad="drop")
    assert (row["p_first"], row["n"]) == (0.75, 2)
    assert preference_rows(many(1), votes("both_bad"), both_bad="drop") == []


def test_a_pair_that_only_ties_is_a_tie():
    (row,) = preference_rows(many(1), votes("tie", "tie"))
    assert row["tie"] and row["p_first"] == 0.5 and row["chosen"][0]["content"] == LIVELY


def test_pairs_without_a_usable_label_make_no_row():
    assert preference_rows(many(2), votes("skip")) == []


def test_held_out_pairs_share_no_prompt_with_the_rest_and_do_not_depend_on_the_order():
    pairs = [pair(LIVELY, PLAIN + str(i), i // 2) for i in range(40)]
    pairs = [Pair(f"p{i}", p.task, p.prompt, p.first, p.second, {}) for i, p in enumerate(pairs)]
    rows = preference_rows(pairs, [Label(p.id, "a", "first") for p in pairs])
    train, held = hold_out(rows, 0.2, 1)
    assert len(held) == 8 and not {r["group"] for r in train} & {r["group"] for r in held}
    again = hold_out(rows[::-1], 0.2, 1)[1]
    assert {row["id"] for row in again} == {row["id"] for row in held}


def test_too_few_pairs_to_hold_any_out_is_an_error():
    with pytest.raises(DataError, match="cannot be split"):
        hold_out(preference_rows(many(1), votes("first")), 0.2, 1)


# The ceiling


def test_the_ceiling_is_the_annotators_accuracy_against_the_utility():
    source = one(temperature=3.0, tie=0.0)
    rows = preference_rows(many(), source.judge(many(), 2), utility=source.utility)
    found = ceiling(rows)
    assert found.kind == "utility" and found.estimate.n == 3000
    assert found.estimate.value == pytest.approx(0.731, abs=0.025)


def test_pairs_of_equal_worth_have_no_right_answer():
    source = one(tie=0.0)
    equal = [pair(PLAIN, PLAIN.replace("Mia", "Leo"), i) for i in range(9)]
    rows = preference_rows(equal, source.judge(equal, 2), utility=source.utility)
    assert all(worth_gap(row) == 0 for row in rows) and comparable(rows) == []


def test_people_are_compared_with_the_majority_of_the_others():
    labels = [*votes("first", "first", "first", "second", number=0), *votes("tie", number=1)]
    found = ceiling(preference_rows(many(2), labels))
    assert (found.kind, found.estimate.n) == ("leave_one_out", 1)
    assert found.estimate.value == 0.75


def test_labels_by_one_person_give_no_ceiling():
    assert ceiling(preference_rows(many(1), votes("first"))).kind == "none"
