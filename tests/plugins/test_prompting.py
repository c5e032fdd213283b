"""Prompt styles: the messages a model gets, and which examples it is shown."""

import pytest

from tunesmith import DataError
from tunesmith_plugins.prompting.chain_of_thought import ChainOfThought
from tunesmith_plugins.prompting.few_shot import FewShot
from tunesmith_plugins.prompting.few_shot_cot import FewShotCot
from tunesmith_plugins.prompting.nearest import ranked
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


def test_rare_words_weigh_more_than_common_ones_and_endings_hardly_count():
    texts = ["how many people were there", "how many kites were there", "three kite makers"]
    assert ranked(texts, "how many kites") == [1, 0, 2]
    assert ranked([*texts[:1], "a b c d e", texts[2]], "kites")[0] == 2
    assert ranked(["你好世界", "再见朋友"], "再见朋友们") == [1, 0]


def test_the_cosine_is_one_for_the_same_text_and_nothing_where_nothing_is_shared():
    from tunesmith_plugins.prompting.nearest import _index

    assert _index(("red kite", "blue boat")).scores("red kite") == [1.0, 0.0]
    assert _index(("red kite",)).scores("") == [0.0]


def test_equally_similar_shots_keep_their_order():
    pool = [qa("kites fly", "1"), qa("kites swim", "2"), qa("kites fly!", "3"), qa("boats", "4")]
    said = FewShot(shots=2, selection="most_similar").messages(TASK, qa("kites fly?"), pool)
    assert [turn["content"] for turn in said[1::2]] == ["3", "1"]
    assert ranked(["x", "y"], "nothing of that") == [0, 1]


def test_most_similar_shots_are_nearer_than_the_first_ones_on_real_questions():
    """In the nano world a question of the same shape is found among 200 of every shape."""
    rows = list(Nano(families=("maths",), train=200, validation=0, prompts=0, test=20).rows())
    pool = [row for row in rows if row["split"] == "train"]

    def shared(selection):
        style, common = FewShot(shots=2, selection=selection), 0.0
        for row in rows[-20:]:
            own = set(row["question"].lower().split())
            for shot in style.chosen(TASK, row, pool):
                other = set(shot["question"].lower().split())
                common += len(own & other) / len(own | other) / 40
        return common

    assert shared("most_similar") > 1.5 * max(shared("fixed"), shared("random"))


def worked(question, steps, **more):
    return qa(question, steps, style="chain_of_thought", **more)


WORKED = [
    qa("one", "3", style="direct"),
    worked("two", "1 + 1 = 2. 2 + 2 = 4. The answer is 4."),
    qa("three", "The answer is 5."),
    qa("four", "3 + 3 = 6. The answer is 6."),
    qa("five", "2 + 5 = 7\n#### 7"),
]


def test_few_shot_cot_shows_the_worked_steps_and_nothing_else():
    said = FewShotCot(shots=3).messages(TASK, qa("new"), WORKED)
    assert [turn["content"] for turn in said] == [
        "two",
        "1 + 1 = 2. 2 + 2 = 4. The answer is 4.",
        "four",
        "3 + 3 = 6. The answer is 6.",
        "five",
        "2 + 5 = 7\n#### 7",
        "new",
    ]
    with pytest.raises(DataError, match="needs 4 rows with worked steps of maths_reasoning, but"):
        FewShotCot().messages(TASK, qa("new"), WORKED)


def test_few_shot_shows_no_row_that_says_it_is_worked_out():
    said = FewShot(shots=2).messages(TASK, qa("new"), WORKED)
    assert [turn["content"] for turn in said[:-1]] == ["one", "3", "three", "The answer is 5."]


def test_the_instruction_follows_every_question_that_few_shot_cot_shows_or_asks():
    style = FewShotCot(shots=1, instruction="\nThink.")
    said = style.messages(TASK, qa("new"), WORKED)
    assert [turn["content"] for turn in said[::2]] == ["two\nThink.", "new\nThink."]
    rows = Nano(families=("maths",), train=30, validation=0, prompts=0, test=1).rows()
    *pool, row = rows
    hint = "\nLet's think step by step."
    for turn in FewShotCot(shots=3, instruction=hint).messages(TASK, row, pool)[:-1:2]:
        assert turn["content"].endswith(hint) and not turn["content"].endswith(2 * hint)


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
