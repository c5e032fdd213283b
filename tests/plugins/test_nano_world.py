"""The nano world holds what its families promise: distinct items, right answers, clean splits."""

import ast
import json
import re
from itertools import islice
from random import Random

import pytest

from tunesmith_plugins.sources.nano import code, drills, lists, stories, world
from tunesmith_plugins.sources.nano.items import Item

FAMILIES = tuple(world.FAMILIES)
_EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) = (\d+)")
_RULES = {"+": int.__add__, "-": int.__sub__, "x": int.__mul__, "/": int.__floordiv__}


def _draws(family: str, count: int = 1000) -> list[Item]:
    """Draw items of a family from one seed."""
    rng = Random(7)
    return [world.FAMILIES[family].draw(rng) for _ in range(count)]


def _right(text: str) -> bool:
    """Tell whether every equation of the text holds and stays within 0 to 999."""
    found = _EQUATION.findall(text)
    sums = [(_RULES[sign](int(a), int(b)), int(c)) for a, sign, b, c in found]
    return bool(found) and all(left == right and 0 <= right <= 999 for left, right in sums)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_at_least_a_hundred_thousand_items(family: str) -> None:
    assert world.FAMILIES[family].capacity() >= 100_000


@pytest.mark.parametrize("family", FAMILIES)
def test_nearly_all_draws_of_a_family_differ(family: str) -> None:
    assert len({item.key for item in _draws(family)}) > 850


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_draws_the_same_items(family: str) -> None:
    first, again = (list(world.items(family, "train", 20, 3)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("family", FAMILIES)
def test_items_are_distinct_and_belong_to_the_split_asked_for(family: str) -> None:
    found = list(world.items(family, "test", 40, 1))
    assert len({item.key for item in found}) == 40
    assert {item.split for item in found} == {"test"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_split_gets_its_share_and_a_key_only_one_split(family: str) -> None:
    items = _draws(family)
    homes = {item.key: item.split for item in items}
    assert all(homes[item.key] == item.split for item in items)
    assert 0.72 < sum(item.split == "pretrain" for item in items) / len(items) < 0.88


@pytest.mark.parametrize("family", FAMILIES)
def test_prose_never_asks_as_the_tuning_stage_does(family: str) -> None:
    rng = Random(5)
    texts = [world.FAMILIES[family].prose(item, rng) for item in _draws(family, 300)]
    banned = (
        "Question:",
        "Translate ",
        "Write a ",
        "Summarise",
        "Tell me a",
        "How many",
        "The answer is",
        "step by step",
    )
    assert not [text for text in texts for phrase in banned if phrase in text]


def test_steps_of_word_problems_are_right_and_end_in_the_answer() -> None:
    for item in _draws("maths"):
        assert item.steps is not None
        assert _right(item.steps)
        assert item.steps.endswith(f" = {item.answer}. The answer is {item.answer}.")
        assert item.question.endswith("?")


def test_equations_in_maths_prose_and_drills_are_right() -> None:
    rng = Random(2)
    tales = [world.FAMILIES["maths"].prose(item, rng) for item in _draws("maths", 400)]
    worked = [text for text in tales if _EQUATION.search(text)]
    assert all(_right(text) for text in worked)
    assert 0.85 < len(worked) / len(tales) < 0.98  # the others only say what it comes to
    assert all(
        not _EQUATION.search(text) or _right(text)
        for text in (drills.drill(rng) for _ in range(400))
    )


def test_a_chorus_says_the_same_verse_again_and_again() -> None:
    rng = Random(4)
    for _ in range(100):
        verses = re.split(r"\. |\n| \.\.\. ", lists.chorus(rng))
        assert len(verses) >= 2
        assert len(set(verses)) == 1


def test_french_sentences_elide_and_contract() -> None:
    wrong = re.compile(r"\b(?:le|la|je|ne|de|ce|ma) (?=[aeiouyhâéèêô])|\bde les?\b|\bà les?\b")
    assert not [item.answer for item in _draws("translation", 3000) if wrong.search(item.answer)]


def test_one_english_sentence_has_one_french_translation() -> None:
    found: dict[str, str] = {}
    for item in _draws("translation", 3000):
        assert found.setdefault(item.key, item.answer) == item.answer


def test_reference_code_passes_its_own_tests() -> None:
    for item in _draws("code"):
        name = item.reference["entry_point"]
        tests = json.loads(json.dumps(item.reference["tests"]))
        function = code.run(item.answer, name)
        assert 6 <= len(tests) <= 8
        assert all(function(*arguments) == expected for arguments, expected in tests)
        assert f"{name}(" in item.question


def test_reference_code_has_no_imports_and_no_attributes() -> None:
    banned = (ast.Import, ast.ImportFrom, ast.Attribute, ast.While)
    nodes = (node for item in _draws("code", 500) for node in ast.walk(ast.parse(item.answer)))
    assert not [node for node in nodes if isinstance(node, banned)]


def test_summaries_hold_their_facts_and_passages_have_four_to_six_sentences() -> None:
    for item in _draws("summaries"):
        assert all(
            fact in item.answer and fact.lower() in item.question.lower()
            for fact in item.reference["facts"]
        )
        assert 4 <= item.question.count(".") <= 6


def test_stories_fulfil_their_wish() -> None:
    for item in _draws("stories"):
        wish = item.reference
        assert len(re.findall(r"[.!?]", item.answer)) == wish["sentences"]
        assert re.search(rf"\b{wish['thing']}\b", item.answer)
        assert wish.get("name", "") in item.answer
        assert any(word in item.answer for word in stories.MOOD_WORDS[wish["mood"]])


def test_stories_show_no_word_of_another_mood() -> None:
    for item in _draws("stories"):
        others = [
            words for mood, words in stories.MOOD_WORDS.items() if mood != item.reference["mood"]
        ]
        assert not [
            word for words in others for word in words if re.search(rf"\b{word}\b", item.answer)
        ]


def test_liveliness_comes_by_independent_coin_flips() -> None:
    texts = [item.answer for item in _draws("stories", 3000)]
    speech = [',"' in text for text in texts]
    vivid = [any(mark in text for mark in stories.VIVID_MARKERS) for text in texts]
    resolved = [any(mark in text for mark in stories.RESOLUTION_MARKERS) for text in texts]
    assert all(0.31 < sum(flips) / 3000 < 0.39 for flips in (speech, vivid, resolved))
    assert 0.09 < sum(map(all, zip(speech, vivid, strict=True))) / 3000 < 0.155


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_a_conversational_prompt_and_completion(family: str) -> None:
    item = next(world.items(family, "train", 1, 0))
    row = world.row(item, "direct")
    assert row["prompt"] == [{"role": "user", "content": item.question}]
    assert row["completion"] == [{"role": "assistant", "content": item.answer}]
    assert (row["task"], row["split"]) == (family, "train")
    assert json.loads(json.dumps(row)) == row


def test_a_chain_of_thought_row_exists_for_maths_alone() -> None:
    maths = world.row(next(world.items("maths", "train", 1, 0)), "chain_of_thought")
    assert maths["id"].endswith("-cot")
    assert maths["prompt"][0]["content"].endswith("?\nLet's think step by step.")
    with pytest.raises(ValueError, match="chain of thought"):
        world.row(next(world.items("code", "train", 1, 0)), "chain_of_thought")


def test_documents_are_the_same_for_the_same_seed_and_short() -> None:
    first, again = (list(islice(world.documents(4), 500)) for _ in range(2))
    assert first == again
    assert 40 < sum(len(text.split()) for text in first) / 500 < 110
    assert max(len(text.split()) for text in first) < 260
