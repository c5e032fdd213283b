"""A rule as reward: the task's own score, which must see the row of each prompt."""

import json
import math
from random import Random

import pytest
import torch
from tiny_models import tiny_model

from tunesmith import DataError, Engine, Generation, ModelError, RewardModel, Sampler, TrainingJob
from tunesmith.chat import encode_prompt, stop_ids
from tunesmith.contracts import check
from tunesmith.models import load_tokenizer, resolve_model
from tunesmith.plugins import build
from tunesmith.promises import scoring
from tunesmith.rule_card import decide_rule, rule_card
from tunesmith.scorers import RowScorer, score_rows
from tunesmith_plugins.methods.grpo import Grpo
from tunesmith_plugins.methods.rloo import Rloo
from tunesmith_plugins.methods.sft import Sft


def sum_of(a, b):
    return {
        "id": f"{a}+{b}",
        "task": "maths_reasoning",
        "prompt": [{"role": "user", "content": f"What is {a} plus {b}?"}],
        "completion": [{"role": "assistant", "content": f"{a + b}."}],
        "reference": {"answer": str(a + b)},
    }


def opened(folder, rows=(), **options):
    rule = build(RewardModel, {"name": "verifiable", **options})
    folder.mkdir(parents=True, exist_ok=True)
    rule.fit(TrainingJob(rows=rows, out=folder, work=folder, seed=1))
    return scoring(rule, rule.open(folder))


def test_the_reward_is_the_task_s_own_score(tmp_path):
    rows = [sum_of(3, 4), sum_of(3, 4), sum_of(5, 4)]
    scorer = opened(tmp_path, rows)
    assert isinstance(scorer, RowScorer)
    assert score_rows(scorer, rows, ["It is 7.", "8", "The answer is 9"]) == [1.0, 0.0, 1.0]


def test_each_row_is_scored_by_its_own_task_or_by_the_one_that_is_named(tmp_path):
    french = {"id": "f", "task": "machine_translation", "reference": {"reference": "le chat noir"},
              "prompt": [{"role": "user", "content": "Translate: the black cat"}]}  # fmt: skip
    rows = [sum_of(1, 1), french]
    found = score_rows(opened(tmp_path / "a", rows), rows, ["2", "le chat noir"])
    assert found == [1.0, 1.0]
    part = score_rows(opened(tmp_path / "b", rows), [french], ["le chat"])[0]
    assert 0 < part < 1
    whole = opened(tmp_path / "c", rows, score="correct")
    assert score_rows(whole, [french], ["le chat"])[0] in (0.0, 1.0)
    bare = {key: value for key, value in sum_of(1, 1).items() if key != "task"}
    named = opened(tmp_path / "d", [bare], task="maths_reasoning")
    assert score_rows(named, [bare], ["2"]) == [1.0]


def test_code_is_rewarded_by_its_tests(tmp_path):
    row = {
        "id": "c", "task": "code_generation",
        "prompt": [{"role": "user", "content": "Write add(a, b)."}],
        "reference": {"entry_point": "add", "tests": [[[1, 2], 3], [[5, 5], 10]]},
    }  # fmt: skip
    right, wrong = "def add(a, b):\n    return a + b", "def add(a, b):\n    return a - b"
    assert score_rows(opened(tmp_path, [row]), [row, row], [right, wrong]) == [1.0, 0.0]


def test_rows_that_cannot_be_scored_are_named(tmp_path):
    rule = build(RewardModel, "verifiable")
    unknown = {**sum_of(1, 1), "task": "maths_reasonin"}
    (said,) = rule.problems_with_rows([sum_of(1, 2), unknown])
    assert "row 1+1" in said and "Did you mean 'maths_reasoning'" in said
    (said,) = rule.problems_with_rows([{**sum_of(1, 1), "reference": {}}])
    assert "needs answer in the reference of row 1+1" in said
    assert rule.problems_with_rows([sum_of(1, 1)]) == []
    with pytest.raises(DataError, match=r"names no task.*`task"):
        opened(tmp_path, [{key: v for key, v in sum_of(1, 1).items() if key != "task"}])


def test_conversations_alone_are_refused(tmp_path):
    scorer = opened(tmp_path, [sum_of(1, 1)])
    with pytest.raises(ModelError, match="what each prompt's row knows"):
        scorer([sum_of(1, 1)["prompt"]], ["2"])


def test_a_folder_of_another_rule_is_refused(tmp_path):
    opened(tmp_path, [], score="correct")
    with pytest.raises(ModelError, match="holds another rule"):
        build(RewardModel, "verifiable").open(tmp_path)
    with pytest.raises(ModelError, match="holds no rule"):
        build(RewardModel, "verifiable").open(tmp_path / "nowhere")


def test_it_keeps_every_contract():
    report = check("reward.verifiable")
    assert {one.outcome for one in report.results} == {"kept"}, report.results


# Its card


def test_a_rule_that_tells_right_from_wrong_passes(tmp_path):
    rows = [sum_of(a, 2) for a in range(1, 13)]
    card = rule_card(opened(tmp_path, rows), rows)
    assert (card.rows, card.solved_rows, card.solved, card.empty) == (12, 12, 1.0, 0.0)
    assert decide_rule(card).passed and "earn 1.000" in decide_rule(card).reason


def test_a_rule_whose_references_are_not_the_answers_fails(tmp_path):
    rows = [{**sum_of(a, 2), "reference": {"answer": "0"}} for a in range(1, 13)]
    verdict = decide_rule(rule_card(opened(tmp_path, rows), rows))
    assert not verdict.passed and "0% earn more than silence" in verdict.reason


def test_prompts_without_solved_answers_are_said_to_be_untried(tmp_path):
    rows = [{k: v for k, v in sum_of(a, 2).items() if k != "completion"} for a in range(5)]
    card = rule_card(opened(tmp_path, rows), rows)
    assert math.isnan(card.solved) and card.record()["solved"] is None
    assert decide_rule(card).passed and "none holds a solved answer" in decide_rule(card).reason
    json.dumps(card.record(), allow_nan=False)


# What it does to a policy


@pytest.fixture(scope="module")
def sums():
    every = [sum_of(a, b) for a in range(1, 10) for b in range(1, 10)]
    Random(0).shuffle(every)
    return every


@pytest.fixture(scope="module")
def halfway(tmp_path_factory, sums):
    """The nano model after a short lesson in sums: it gets some of them right."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("halfway")
    sft = Sft(steps=30, batch_tokens=512, learning_rate=1e-3, dtype="float32")
    job = TrainingJob(rows=sums[:40], out=folder / "out", work=folder / "work", seed=1)
    job.model_dir = resolve_model("builtin:nano")
    sft.train(job)
    return folder / "out"


def share_right(model, rows, scorer, draws=8):
    """Return the share of sampled answers that are exactly right."""
    tokenizer = load_tokenizer(model)
    asked = [row for row in rows for _ in range(draws)]
    stops = stop_ids(tokenizer, model)
    how = Generation(build(Sampler, "random"), 8, list(range(len(asked))), stops)
    with build(Engine, "transformers").open(model) as engine:
        said = engine.generate([encode_prompt(tokenizer, row["prompt"]) for row in asked], how)
    found = score_rows(scorer, asked, [one.text for one in said])
    return sum(found) / len(found)


def test_a_few_steps_of_grpo_raise_the_share_of_exact_answers(tmp_path, halfway, sums):
    prompts = sums[40:56]
    scorer = opened(tmp_path / "rule", prompts)
    before = share_right(halfway, prompts, scorer)
    grpo = Grpo(
        steps=15, prompts_per_step=8, num_generations=8, max_completion_length=8,
        learning_rate=2e-4, beta=0.0, max_kl=None, dtype="float32",
    )  # fmt: skip
    job = TrainingJob(rows=prompts, out=tmp_path / "out", work=tmp_path / "work", seed=1)
    job.model_dir, job.reward = halfway, scorer
    grpo.train(job)
    after = share_right(tmp_path / "out", prompts, scorer)
    assert after > before + 0.2, (before, after)


@pytest.mark.parametrize("method", [Grpo, Rloo])
def test_the_row_of_each_prompt_reaches_the_reward(tmp_path, method):
    seen = []

    class Watching:
        digest = "watching"

        def __call__(self, prompts, completions):
            raise AssertionError("asked without rows")

        def with_rows(self, rows, completions):
            seen.extend((row["id"], row["reference"]["answer"]) for row in rows)
            return [float(len(text)) for text in completions]

    rows = [sum_of(a, 1) for a in range(1, 5)]
    how = method(steps=2, prompts_per_step=4, num_generations=2, max_completion_length=4)
    job = TrainingJob(rows=rows, out=tmp_path / "out", work=tmp_path / "work", seed=1)
    job.model_dir, job.reward = tiny_model(), Watching()
    how.train(job)
    assert len(seen) == 16 and {(f"{a}+1", str(a + 1)) for a in range(1, 5)} == set(seen)
