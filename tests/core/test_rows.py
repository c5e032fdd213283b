"""Rows: the types TRL names, the shapes people keep, and what is refused with which words."""

import pytest

from tunesmith import DataError
from tunesmith.rows import (
    TYPES,
    canonical,
    check_row,
    content,
    identify,
    require,
    to_conversational,
    type_of,
)
from tunesmith.shapes import convert, transcript

ASK = [{"role": "user", "content": "hi"}]
SAY = [{"role": "assistant", "content": "hello"}]
SAY_2 = [{"role": "assistant", "content": "go away"}]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"text": "a"}, "language-modelling"),
        ({"prompt": ASK}, "prompt-only"),
        ({"prompt": ASK, "completion": SAY}, "prompt-completion"),
        ({"prompt": ASK, "chosen": SAY, "rejected": SAY_2}, "preference"),
        ({"prompt": ASK, "completion": SAY, "label": True}, "unpaired-preference"),
    ],
)
def test_every_type_is_recognised_by_its_columns_and_passes_the_check(row, kind):
    assert type_of(row) == kind
    check_row(row)


def test_names_of_types_are_accepted_as_trl_and_as_people_spell_them():
    assert canonical("Language modeling") == "language-modelling"
    assert canonical("prompt_completion") == "prompt-completion"
    assert canonical("unpaired") == canonical("Unpaired preference") == "unpaired-preference"
    with pytest.raises(DataError, match="Did you mean 'preference'"):
        canonical("preferences")
    assert all(canonical(name) == name for name in TYPES)


def test_standard_rows_become_conversational():
    row = to_conversational({"prompt": "hi", "chosen": "hello", "rejected": "go away", "id": "1"})
    assert row == {"prompt": ASK, "chosen": SAY, "rejected": SAY_2, "id": "1"}


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi", "completion": "hello"},
        {"prompt": ASK, "completion": SAY},
        {"prompt": "hi", "response": "hello"},
        {"messages": ASK + SAY},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {"instruction": "hi", "input": "", "output": "hello"},
        {"instruction": "hi", "response": "hello"},
        {"question": "hi", "answer": "hello"},
        {"Question": "hi", " Answer ": "hello"},
        {"text": "\n\nHuman: hi\n\nAssistant: hello"},
        {"text": "### Human: hi\n\n### Assistant: hello"},
    ],
)
def test_common_shapes_become_prompt_and_completion(record):
    row = convert(record, "f:1")
    assert (row["prompt"], row["completion"]) == (ASK, SAY)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi", "chosen": "hello", "rejected": "go away"},
        {"prompt": "hi", "chosen": ASK + SAY, "rejected": ASK + SAY_2},
        {"chosen": ASK + SAY, "rejected": ASK + SAY_2},
        {"instruction": "hi", "input": "", "output": "x", "chosen": "hello", "rejected": "go away"},
        {
            "chosen": "\n\nHuman: hi\n\nAssistant: hello",
            "rejected": "\n\nHuman: hi\n\nAssistant: go away",
        },
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "hello"},
            "rejected": {"from": "gpt", "value": "go away"},
        },
    ],
)
def test_common_shapes_of_preferences_become_prompt_chosen_rejected(record):
    row = convert(record, "f:1")
    assert (row["prompt"], row["chosen"], row["rejected"]) == (ASK, SAY, SAY_2)


def test_an_alpaca_input_stands_below_its_instruction():
    row = convert({"instruction": "Translate", "input": "cat", "output": "chat"})
    assert row["prompt"][0]["content"] == "Translate\n\ncat"


def test_a_transcript_keeps_turns_and_joins_two_of_one_speaker():
    turns = transcript("\n\nHuman: a\n\nHuman: b\n\nAssistant: c\nd\n\nHuman: e\n\nAssistant: f")
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert turns[0]["content"] == "a\n\nb"
    assert turns[1]["content"] == "c\nd"


def test_prose_that_mentions_a_human_is_plain_text():
    text = "Being human: a guide.\n\nHuman: the word is old."
    assert convert({"text": text}) == {"text": text}


def test_labels_of_unpaired_rows_may_be_words_or_numbers():
    assert convert({"prompt": "hi", "completion": "hello", "label": "true"})["label"] is True
    assert convert({"prompt": "hi", "completion": "hello", "label": 0})["label"] is False
    with pytest.raises(DataError, match="label' must be true or false"):
        convert({"prompt": "hi", "completion": "hello", "label": "good"}, "f:3")


def test_extra_columns_stay_and_numbers_serve_as_ids():
    row = convert({"id": 7, "question": "2+2?", "answer": "4", "task": "maths_reasoning", "x": 1})
    assert row["id"] == "7"
    assert row["task"] == "maths_reasoning"
    assert "x" not in row


def test_a_mapping_takes_columns_paths_templates_and_fills_references():
    record = {"en": "cat", "turns": ["meow", "purr"], "meta": {"gold": "chat"}}
    columns = {
        "prompt": "Translate: {en}",
        "completion": "turns.1",
        "reference.reference": "meta.gold",
    }
    row = convert(record, "f:1", columns)
    assert row["prompt"][0]["content"] == "Translate: cat"
    assert row["completion"][0]["content"] == "purr"
    assert row["reference"] == {"reference": "chat"}


def test_a_mapping_to_a_missing_column_names_the_nearest_one():
    with pytest.raises(DataError, match=r"f:2: there is no column 'anser'. Did you mean 'answer'"):
        convert({"answer": "a", "q": "b"}, "f:2", {"prompt": "q", "completion": "anser"})


def test_an_unknown_shape_gets_columns_near_types_and_a_mapping_that_works():
    record = {"idx": 1, "source": "Where is the cat?", "target": "Où est le chat ?"}
    with pytest.raises(DataError) as error:
        convert(record, "rows.jsonl:1")
    said = str(error.value)
    assert "rows.jsonl:1" in said
    assert "idx, source, target" in said
    assert "prompt-only lacks prompt" in said
    assert "columns: {prompt: source, completion: target}" in said
    row = convert(record, "f:1", {"prompt": "source", "completion": "target"})
    assert row["completion"][0]["content"] == "Où est le chat ?"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"prompt": "hi", "completion": None}, "'completion' is null"),
        ({"prompt": None, "completion": "x"}, "'prompt' is null"),
        ({"prompt": "hi", "completion": "  "}, "is empty"),
        ({"prompt": 5, "completion": "x"}, "list of messages; it is int 5"),
        ({"text": 5}, "must be text"),
        ({"text": ""}, "is empty"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "a\ud800b"}, "surrogate"),
        ({"prompt": "hi", "chosen": "a", "rejected": "a"}, "the same"),
        ({"chosen": "a", "rejected": "b"}, "no prompt"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
        ({"messages": [{"speaker": "x"}]}, "role and content"),
        ({"messages": [*ASK, {"role": "system", "content": "s"}, *SAY]}, "must come first"),
        ({"messages": SAY}, "'prompt' must be a list of messages; it is list"),
        ({}, "no known shape"),
    ],
)
def test_bad_rows_are_refused_with_their_place_and_the_reason(record, words):
    with pytest.raises(DataError) as error:
        convert(record, "f.jsonl:9")
    assert "f.jsonl:9" in str(error.value)
    assert words in str(error.value)


def test_a_strangers_column_of_an_extra_name_is_left_alone_unless_it_is_mapped():
    record = {"prompt": "hi", "reference": ["a", "b"], "group": None, "task": 3, "id": ""}
    assert convert(record) == {"prompt": ASK}
    with pytest.raises(DataError, match="'reference' must be an object; it is list"):
        convert(record, "f:1", {"prompt": "prompt", "reference": "reference"})


def test_ids_come_from_content_and_never_repeat():
    rows = list(identify([{"text": "a"}, {"text": "a"}, {"text": "b", "id": "mine"}]))
    assert rows[1]["id"] == rows[0]["id"] + "-2"
    assert rows[2]["id"] == "mine"
    with pytest.raises(DataError, match="'mine'"):
        list(identify([{"text": "a", "id": "mine"}, {"text": "b", "id": "mine"}]))


def test_content_differs_when_roles_or_labels_differ():
    base = {"prompt": ASK, "completion": SAY}
    assert content(base) != content({**base, "label": True})
    assert content({"prompt": ASK}) != content({"text": "hi"})


def test_a_stage_says_which_row_does_not_fit_and_why():
    rows = [{"prompt": ASK, "completion": SAY}, {"prompt": ASK, "id": "r2"}]
    require(rows, "prompt-only", "respond")
    with pytest.raises(
        DataError, match=r"sft needs prompt-completion rows .* row 2 \(id r2\) is prompt-only"
    ):
        require(rows, "prompt-completion", "sft")
    with pytest.raises(DataError, match="there are none"):
        require([], "preference", "dpo")
