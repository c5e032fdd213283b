"""Filters: what they change, what they drop, what they leave alone."""

import sys

from tunesmith_plugins.filters.exact_dedup import ExactDedup, Seen
from tunesmith_plugins.filters.length import Length
from tunesmith_plugins.filters.normalise import Normalise


def qa(asked, answer, **more):
    prompt = [{"role": "user", "content": asked}]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}], **more}


def apply(one, rows):
    return list(one.apply(iter(rows)))


def test_normalise_composes_characters_unifies_line_ends_and_drops_control_characters():
    messy = "\ufeffcafe\u0301 \t\r\nnext\x07 line\u00a0\rlast\u2028end\n\n"
    row = apply(Normalise(), [{"text": messy}])[0]
    assert row["text"] == "caf\u00e9\nnext line\nlast\nend"


def test_normalise_keeps_indents_inner_spaces_emoji_and_capitals():
    text = "def f(x):\n    return  'A'\n\n👩‍👩‍👧 Straße"
    assert apply(Normalise(), [{"text": text}])[0]["text"] == text
    assert apply(Normalise(lowercase=True), [{"text": text}])[0]["text"] == text.lower()


def test_normalise_twice_is_normalise_once_and_reaches_every_text():
    row = qa("a\u0301 ", "b\r\n", question="a\u0301 ", id="x")
    once = apply(Normalise(), [row])
    assert once == apply(Normalise(), once)
    assert once[0] == qa("\u00e1", "b", question="\u00e1", id="x")
    assert row["prompt"][0]["content"] == "a\u0301 "


def test_normalise_drops_a_row_of_which_nothing_is_left():
    assert apply(Normalise(), [{"text": "\x00\x07 \n"}, {"text": "a"}]) == [{"text": "a"}]


def test_length_keeps_what_fits_on_every_side():
    rows = [qa("abc", "de"), qa("abcdef", "de"), qa("abc", "defghi"), {"text": "abcdefg"}]
    assert apply(Length(max_prompt=5), rows) == [rows[0], rows[2], rows[3]]
    assert apply(Length(max_answer=2, max_text=3), rows) == rows[:2]
    assert apply(Length(min_answer=3), rows) == rows[2:]
    preference = {
        "prompt": rows[0]["prompt"],
        "chosen": rows[0]["completion"],
        "rejected": rows[2]["completion"],
    }
    assert apply(Length(max_answer=5), [preference]) == []


def test_length_says_when_nothing_could_pass():
    assert Length(min_text=5, max_text=4).problems() == [
        "length keeps nothing: min_text 5 is above max_text 4."
    ]
    assert Length().problems() == []


def test_exact_dedup_keeps_the_first_and_looks_past_ids():
    rows = [qa("a", "b", id="1"), qa("a", "b", id="2"), qa("a", "c"), {"text": "a"}, {"text": "a"}]
    assert apply(ExactDedup(), rows) == [rows[0], rows[2], rows[3]]
    assert apply(ExactDedup(by="prompt"), rows) == [rows[0], rows[3]]


def test_exact_dedup_tells_a_turn_of_the_user_from_one_of_the_assistant():
    first, second = qa("a", "b"), qa("a", "b")
    second["prompt"] = [{"role": "system", "content": "a"}]
    assert len(apply(ExactDedup(), [first, second])) == 2


def test_exact_dedup_remembers_a_row_in_a_few_bytes():
    seen = Seen()
    assert all(seen.add(str(n)) for n in range(30_000))
    assert sys.getsizeof(seen._slots) < 30_000 * 48
    assert not any(seen.add(str(n)) for n in range(0, 30_000, 7))
