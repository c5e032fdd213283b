"""Prompt styles: the messages a model gets, and which examples it is shown."""

import pytest

from tunesmith import DataError
from tunesmith_plugins.prompting.chain_of_thought import ChainOfThought
from tunesmith_plugins.prompting.few_shot import FewShot, similarity
from tunesmith_plugins.prompting.zero_shot import ZeroShot
from tunesmith_plugins.sources.nano import Nano
from tunesmith_plugins.tasks.maths_reasoning import MathsReasoning

TASK = MathsReasoning()


def qa(question, answer="1", **more):
    prompt = [{"role": "user", "content": question}]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}], **more}


POOL = [qa(f"how many apples has tom {n}", str(n), id=f"p{n}") for n in range(20)]
POOL += [
    qa("what is the sum of red kites", "9", id="kites"),
    qa("where is the sum of kites", "8", id="sum"),
]


def test_zero_shot_asks_the_question_alone():
    row = {**qa("ignored"), "question": "2+2?"}
    assert ZeroShot().messages(TASK, row, []) == [{"role": "user", "content": "2+2?"}]


def test_chain_of_thought_appends_the_sentence_of_kojima():
    said = ChainOfThought().messages(TASK, qa("2+2?"), [])
    assert said == [{"role": "user", "content": "2+2?\nLet's think step by step."}]
    assert (
        ChainOfThought(instruction=" Think.").messages(TASK, qa("a"), [])[0]["content"]
        == "a Think."
    )


def test_chain_of_thought_asks_exactly_as_the_nano_world_trains():
    for row in Nano(families=("maths",), train=0, validation=0, prompts=0, test=5).rows():
        assert ChainOfThought().messages(TASK, row, []) == row["prompt"]


def test_earlier_turns_stay_before_the_question():
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    turns += [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "2+2?"}]
    row = {"prompt": turns}
    assert ZeroShot().messages(TASK, row, []) == turns
    shown = FewShot(shots=1).messages(TASK, row, POOL)
    assert [turn["role"] for turn in shown] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert shown[0]["content"] == "Be brief."


def test_fixed_shots_are_the_first_ones_as_turns_that_end_with_the_question():
    said = FewShot(shots=2).messages(TASK, qa("new"), POOL)
    assert [turn["content"] for turn in said] == [
        "how many apples has tom 0",
        "0",
        "how many apples has tom 1",
        "1",
        "new",
    ]
    assert [turn["role"] for turn in said] == ["user", "assistant", "user", "assistant", "user"]


def test_random_shots_hang_on_seed_and_row_alone():
    def shown(seed, row_id):
        return FewShot(shots=3, selection="random", seed=seed).messages(
            TASK, qa("new", id=row_id), POOL
        )

    assert shown(1, "a") == shown(1, "a")
    assert shown(1, "a") != shown(2, "a")
    assert shown(1, "a") != shown(1, "b")


def test_the_most_similar_shot_comes_last():
    said = FewShot(shots=2, selection="most_similar").messages(
        TASK, qa("what is the sum of blue kites"), POOL
    )
    assert [turn["content"] for turn in said[1::2]] == ["8", "9"]
    assert similarity("a b", "b c") == pytest.approx(1 / 3)
    assert similarity("", "") == 0


def test_a_row_is_never_shown_its_own_answer_nor_another_task():
    pool = [
        qa("new", "leak"),
        qa("x", "kin", group="g"),
        qa("y", "other", task="summarisation"),
        *POOL,
    ]
    said = FewShot(shots=1).messages(TASK, qa("new", group="g"), pool)
    assert said[1]["content"] == "0"


def test_too_few_solved_rows_are_an_error_that_says_so():
    with pytest.raises(DataError, match="needs 4 solved rows of maths_reasoning, but there are 2"):
        FewShot().messages(TASK, qa("new"), POOL[:2])
    with pytest.raises(DataError, match="has no completion"):
        FewShot(shots=1).messages(TASK, qa("new"), [{"prompt": [{"role": "user", "content": "x"}]}])
