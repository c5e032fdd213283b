"""Tasks: right answers score 1, wrong ones and tricks do not, missing references are told."""

import math

import pytest

from tunesmith import DataError, Score
from tunesmith_plugins.sources.nano import Nano
from tunesmith_plugins.tasks.code_generation import CodeGeneration, extract
from tunesmith_plugins.tasks.creative_writing import CreativeWriting
from tunesmith_plugins.tasks.machine_translation import MachineTranslation
from tunesmith_plugins.tasks.maths_reasoning import MathsReasoning, final_number
from tunesmith_plugins.tasks.moods import WORDS, has_mood
from tunesmith_plugins.tasks.sentences import mentions, sentences
from tunesmith_plugins.tasks.summarisation import Summarisation, rouge_l

TASKS = (
    MathsReasoning(),
    MachineTranslation(),
    CodeGeneration(),
    Summarisation(),
    CreativeWriting(),
)
NAMES = [task.name for task in TASKS]


@pytest.fixture(scope="module")
def nano():
    rows = {}
    for row in Nano(train=60, validation=0, prompts=0, test=40).rows():
        rows.setdefault(row["task"], []).append(row)
    return rows


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_every_reference_answer_of_the_nano_world_is_right(task, nano):
    for row in nano[task.name]:
        score = task.score(row, row["completion"][0]["content"])
        assert score.correct, (row, score)
        assert score.value == pytest.approx(1.0)


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_the_answer_to_another_question_is_rarely_right(task, nano):
    rows = nano[task.name]
    others = [
        task.score(row, other["completion"][0]["content"])
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    assert sum(score.correct for score in others) <= 0.1 * len(rows)


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  \n",
        "nan",
        "inf",
        "\ud800",
        "\0",
        "0 " * 5000,
        " ".join(map(str, range(3000))),
        "a" * 1_000_000,
        "The answer is",
        "```python\n```",
        "((((" * 3000,
    ],
    ids=[
        "empty",
        "blank",
        "nan",
        "inf",
        "surrogate",
        "nul",
        "zeros",
        "all numbers",
        "huge",
        "half",
        "no code",
        "brackets",
    ],
)
def test_tricks_score_low_stay_finite_and_never_raise(task, answer, nano):
    for row in nano[task.name][:3]:
        score = task.score(row, answer)
        assert isinstance(score, Score)
        assert math.isfinite(score.value)
        assert 0 <= score.value <= 0.5
        assert not score.correct


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_a_row_without_its_reference_is_told_what_to_map(task, nano):
    row = nano[task.name][0]
    with pytest.raises(DataError, match=r"columns: \{reference\."):
        task.score({key: value for key, value in row.items() if key != "reference"}, "x")
    with pytest.raises(DataError, match=row["id"]):
        task.score({**row, "reference": {"other": 1}}, "x")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7. The answer is 7.", "7"),
        ("The answer is 5. No: the final answer is: 6", "6"),
        ("She has 12 - 4 = 8 left.\n#### 8", "8"),
        (r"so $\boxed{-1,234.50}$ apples", "-1234.50"),
        ("It costs $1,000", "1000"),
        ("5-3", "3"),
        ("x = -3", "-3"),
        ("−4", "-4"),
        ("1, 2, 3", "3"),
        ("0.50.", "0.50"),
        (".5", ".5"),
        ("The answer is unknown, not 3 of 4", "3"),
        ("The answer is unknown", None),
        ("no number", None),
        ("NaN", None),
    ],
)
def test_the_final_number_is_found_and_never_evaluated(text, number):
    assert final_number(text) == number


def test_maths_compares_decimals_exactly_and_reads_worked_references():
    row = {"reference": {"answer": "She makes 9 * 2 = $<<9*2=18>>18.\n#### 18"}}
    task = MathsReasoning()
    assert task.score(row, "18.0").correct
    assert task.score(row, "The answer is $18.").correct
    assert not task.score(row, "18.0000000000000000001").correct
    assert not task.score(row, "9 * 2").correct
    assert not task.score(row, "1" + "8" * 500).correct
    with pytest.raises(DataError, match="no number"):
        task.score({"id": "r", "reference": {"answer": "many"}}, "1")


def test_chrf_is_the_one_of_sacrebleu_and_case_and_points_do_not_count_as_wrong():
    from sacrebleu import sentence_chrf

    row = {"reference": {"reference": "l'enfant mange une pomme"}}
    score = MachineTranslation().score(row, "l'enfant mange des pommes")
    assert score.value == pytest.approx(
        sentence_chrf("l'enfant mange des pommes", ["l'enfant mange une pomme"]).score / 100
    )
    assert not score.correct
    assert MachineTranslation().score(row, "L’enfant mange une pomme.").correct
    assert not MachineTranslation().score(row, "l'enfant mange une pomme une pomme").correct
    assert not MachineTranslation().score({"reference": {"reference": "..."}}, "!!!").correct


@pytest.mark.parametrize(
    "answer",
    [
        "def f(x):\n    return x + 1",
        "Here it is:\n```python\ndef f(x):\n    return x + 1\n```\nIt adds 1.",
        "```\ndef f(x):\n    return x + 1",
        "Sure.\n\ndef g(x):\n    return x\n\ndef f(x):\n    return g(x) + 1\n\nThis adds one.",
        "```python\nprint(1)\n```\n```python\ndef f(x):\n    return x + 1\n```",
    ],
)
def test_a_program_is_found_in_blocks_and_in_prose(answer):
    row = {"reference": {"entry_point": "f", "tests": [[[1], 2], [[5], 6]]}}
    assert CodeGeneration().score(row, answer).correct, extract(answer, "f")


def test_a_program_that_passes_some_tests_is_wrong_and_says_where():
    row = {"reference": {"entry_point": "f", "tests": [[[1], 2], [[5], 6]]}}
    score = CodeGeneration().score(row, "def f(x):\n    return 2")
    assert (score.value, score.correct) == (0.0, False)
    assert score.details["passed"] == 1
    assert "(5) gives 2, not 6" in score.details["reason"]


def test_copying_the_passage_or_listing_words_is_no_summary(nano):
    for row in nano["summarisation"][:20]:
        passage = row["question"].split(": ", 1)[1]
        copied = Summarisation().score(row, passage)
        assert not copied.correct
        assert copied.value < 1
        lost = Summarisation().score(row, row["reference"]["summary"].split()[0])
        assert lost.value <= 0.25


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence():
    assert rouge_l("the cat sat on the mat", "the cat lay on the mat") == pytest.approx(5 / 6)
    assert rouge_l("a b", "a b c d") == pytest.approx(2 / 3)
    assert rouge_l("x", "y") == rouge_l("", "y") == rouge_l("!", "!") == 0.0


def test_a_story_gets_a_share_of_its_wishes():
    row = {"reference": {"mood": "scary", "sentences": 2, "thing": "key", "name": "Mia"}}
    task = CreativeWriting()
    full = task.score(row, 'Mia saw two keys and a pale ghost. "Run!" screamed Tom in the dark.')
    assert full.correct
    assert full.details["dialogue"]
    assert full.details["sentences"] == 2
    assert task.score(row, "Ben lost a key in the dark. He was afraid of it.").value == 0.75
    assert (
        task.score(
            row, "Mia lost a key. She cried and cried, so sad. She smiled again later."
        ).value
        == 0.5
    )


def test_listing_all_moods_or_babbling_grants_no_wish():
    row = {"reference": {"mood": "happy", "sentences": 3, "thing": "key"}}
    task = CreativeWriting()
    assert not task.score(row, "A key was happy. A key was sad. A key was silly.").correct
    assert task.score(row, "Key happy. Key happy. Key happy.").value == 0
    assert task.score(row, "key happy " * 50).value == 0


def test_sentences_are_counted_past_speech_titles_and_unfinished_ends():
    assert len(sentences('Mr. Fox ran. "Stop!" cried Mia. He did not')) == 3
    assert len(sentences("One... two. Three?! Four")) == 3
    assert sentences("...") == []
    assert mentions("Two Keys.", "key")
    assert not mentions("monkey keyboard", "key")
    assert mentions("a silver  ring", "silver ring")


def test_moods_have_no_word_in_common():
    for mood, lexicon in WORDS.items():
        assert all(lexicon.isdisjoint(other) for name, other in WORDS.items() if name != mood)
    assert not has_mood("It happened at the crystal saddle.", "happy")
    assert has_mood("A mysterious tale.", "mysterious")
