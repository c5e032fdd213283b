"""A reward model learns what annotators prefer, and its card says how well."""

import json
import math
import statistics

import pytest
import torch
from tests.tiny_models import tiny_model

from tunesmith import DataError, Label, ModelError, Pair, TrainingJob
from tunesmith.preferences import hold_out, preference_rows
from tunesmith.reward_card import RewardGate, decide, reward_card
from tunesmith.training.preference import pair_rows, pair_weight, share_of_ties
from tunesmith.training.preference_losses import bradley_terry_loss, rao_kupper_loss
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.rewards.bradley_terry import BradleyTerry

GOOD, BAD = "kite kite kite", "dog dog dog"
QUICK = BradleyTerry(epochs=8, learning_rate=3e-3, batch_size=8, dtype="float32")


def pairs(count):
    made = []
    for i in range(count):
        prompt = [{"role": "user", "content": f"Say something, number {i}."}]
        first, second = (GOOD, BAD) if i % 2 else (BAD, GOOD)
        made.append(Pair(f"p{i}", "talk", prompt, first, second, {}))
    return made


def worth(pair, answer):
    return float("kite" in answer)


def rows(count=48, *, verdict="right", annotators=3):
    def say(pair):
        best = "first" if pair.first == GOOD else "second"
        return best if verdict == "right" else verdict

    labels = [Label(p.id, f"a{k}", say(p)) for p in pairs(count) for k in range(annotators)]
    return preference_rows(pairs(count), labels, utility=worth)


def fit(folder, some, how=QUICK, **fields):
    job = TrainingJob(
        rows=some,
        out=folder / "out",
        work=folder / "work",
        seed=1,
        model_dir=tiny_model(),
        **fields,
    )
    return how.fit(job)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    return folder / "out", fit(folder, rows())


# Learning


def test_it_learns_an_obvious_preference(fitted):
    folder, outcome = fitted
    assert outcome.metrics["train_accuracy"] == 1.0
    unseen = [[{"role": "user", "content": "Say anything else, please."}]] * 2
    good, bad = QUICK.open(folder)(unseen, [GOOD, BAD])
    assert good > bad + 1


@pytest.mark.parametrize("how", [{"pooling": "last"}, {"ties": "rao_kupper"}, {"margin": 0.5}])
def test_every_variant_learns_it(tmp_path, how):
    outcome = fit(tmp_path, rows(32), QUICK.model_copy(update=how), adapter=None)
    assert outcome.metrics["train_accuracy"] == 1.0


def test_it_learns_through_an_adapter_and_saves_a_plain_model(tmp_path):
    outcome = fit(tmp_path, rows(32), adapter=Lora(r=4))
    assert outcome.metrics["train_accuracy"] == 1.0
    assert (tmp_path / "out" / "adapter").is_dir()
    QUICK.open(tmp_path / "out")([[{"role": "user", "content": "Hi"}]], ["kite"])


def test_rewards_of_the_training_answers_have_mean_0_and_deviation_1(fitted):
    folder, _ = fitted
    some = rows()
    answers = [row[side][0]["content"] for row in some for side in ("chosen", "rejected")]
    prompts = [row["prompt"] for row in some for _ in range(2)]
    rewards = QUICK.open(folder)(prompts, answers)
    assert statistics.fmean(rewards) == pytest.approx(0, abs=1e-4)
    assert statistics.pstdev(rewards) == pytest.approx(1, abs=1e-4)


def test_a_reward_hardly_depends_on_its_company(fitted):
    folder, _ = fitted
    scorer = QUICK.open(folder)
    prompts = [[{"role": "user", "content": "Say " + "a dog " * n}] for n in range(1, 9)]
    together = scorer(prompts, [GOOD] * 8)
    alone = [scorer([prompt], [GOOD])[0] for prompt in prompts]
    assert together == pytest.approx(alone, abs=1e-4)
    assert scorer(prompts, [GOOD] * 8) == together
    assert scorer([], []) == []


def test_it_writes_no_pickle_and_opens_nothing_else(fitted, tmp_path):
    folder, _ = fitted
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "head.safetensors", "reward.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    with pytest.raises(ModelError, match="no Bradley-Terry reward model"):
        QUICK.open(tiny_model())


def test_the_same_job_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        fit(tmp_path / name, rows(16))
    for name in ("model.safetensors", "head.safetensors", "reward.json"):
        assert (tmp_path / "a/out" / name).read_bytes() == (tmp_path / "b/out" / name).read_bytes()


def test_it_needs_a_model_and_a_preference(tmp_path):
    with pytest.raises(ModelError, match="needs a model"):
        QUICK.fit(TrainingJob(rows=rows(4), out=tmp_path, work=tmp_path, seed=0))
    with pytest.raises(DataError, match="all are ties"):
        fit(tmp_path, rows(4, verdict="tie"), BradleyTerry(ties="drop"))


def test_pairs_too_long_for_the_model_are_refused(tmp_path):
    long = pairs(2)
    long[0] = Pair("p0", "talk", long[0].prompt, "kite " * 200, BAD, {})
    some = preference_rows(long, [Label(p.id, "a", "first") for p in long])
    with pytest.raises(DataError, match="1 of 4 answers are longer"):
        fit(tmp_path, some)


def test_ties_pull_rewards_together(tmp_path):
    sure, unsure = rows(24), rows(24, verdict="tie")
    mixed = [
        {**row, "chosen": row["chosen"], "p_first": 0.5, "tie": True, "votes": other["votes"]}
        for row, other in zip(sure, unsure, strict=True)
    ]
    decided = fit(tmp_path / "sure", sure).metrics["reward_std"]
    tied = fit(tmp_path / "tied", mixed).metrics["reward_std"]
    assert tied < 0.2 * decided


# Losses and weights


def test_the_loss_is_the_reference_loss_and_soft_labels_change_it_as_the_formula_says():
    gap, p = torch.tensor([0.7, -1.2, 0.3]), torch.tensor([1.0, 0.5, 2 / 3])
    expected = [
        -(q * math.log(1 / (1 + math.exp(-g))) + (1 - q) * math.log(1 / (1 + math.exp(g))))
        for g, q in zip(gap.tolist(), p.tolist(), strict=True)
    ]
    assert bradley_terry_loss(gap, p).tolist() == pytest.approx(expected, rel=1e-5)
    hard = bradley_terry_loss(gap, torch.ones(3), margin=0.2)
    assert hard.tolist() == pytest.approx([math.log1p(math.exp(0.2 - g)) for g in gap.tolist()])


def test_rao_kupper_gives_probabilities():
    gap, one = torch.linspace(-4, 4, 9), torch.ones(9)
    win = rao_kupper_loss(gap, one, 0 * one, 0.4)
    lose = rao_kupper_loss(gap, 0 * one, 0 * one, 0.4)
    tie = rao_kupper_loss(gap, one / 2, one, 0.4)
    total = sum((-loss).exp() for loss in (win, lose, tie))
    assert total.tolist() == pytest.approx([1.0] * 9, rel=1e-5)


def test_weights_follow_agreement_or_labels_and_have_mean_1():
    from tunesmith.models import load_tokenizer

    row = rows(2, annotators=2)
    row[0] = {**row[0], "agreement": 0.2, "n": 1}
    assert [pair_weight(r, "agreement") for r in row] == [0.2, 1.0]
    assert [pair_weight(r, "labels") for r in row] == [1.0, 2.0]
    made = pair_rows(load_tokenizer(tiny_model()), row, weights="agreement")
    assert made.weight.tolist() == pytest.approx([1 / 3, 5 / 3])
    assert share_of_ties({"votes": {"a": "tie", "b": "chosen"}}) == 0.5


# The card


def scorer_of(function):
    return lambda prompts, completions: [function(c) for c in completions]


def noisy_rows(count=400):
    """Three annotators, of whom the third is wrong on every second pair."""
    labels = []
    for n, pair in enumerate(pairs(count)):
        best, other = ("first", "second") if pair.first == GOOD else ("second", "first")
        labels += [Label(pair.id, "a", best), Label(pair.id, "b", best)]
        labels.append(Label(pair.id, "c", other if n // 2 % 2 else best))
    return preference_rows(pairs(count), labels, utility=worth)


def test_a_perfect_judge_reaches_the_ceiling_and_a_blind_one_is_at_chance():
    perfect = reward_card(scorer_of(lambda text: float("kite" in text)), noisy_rows())
    assert perfect.accuracy.value == pytest.approx(5 / 6)
    assert perfect.ceiling.estimate.value == pytest.approx(5 / 6)
    assert perfect.ratio.value == pytest.approx(1.0)
    assert perfect.against_utility.value == 1.0 and perfect.majority.value == 1.0
    blind = reward_card(scorer_of(lambda text: 0.0), noisy_rows())
    assert blind.accuracy.value == 0.5
    assert not decide(blind, RewardGate()).passed
    assert decide(perfect, RewardGate()).passed


def test_calibration_compares_predicted_and_observed_shares():
    # A gap of log 5 predicts 5/6 for every pair, which is what the labels say on average.
    right = reward_card(scorer_of(lambda text: math.log(5) * ("kite" in text)), noisy_rows())
    bold = reward_card(scorer_of(lambda text: 9.0 * ("kite" in text)), noisy_rows())
    assert right.calibration_error == pytest.approx(0.0, abs=1e-6)
    assert bold.calibration_error == pytest.approx(1 / 6, abs=1e-3)
    assert [n for *_, n in right.bins] == [400]


def test_a_reward_that_only_counts_letters_shows_in_the_card():
    made = [Pair(p.id, "talk", p.prompt, p.first, p.second + " and so on", {}) for p in pairs(60)]
    longer = preference_rows(made, [Label(p.id, a, "second") for p in made for a in "xyz"])
    card = reward_card(scorer_of(len), longer)
    assert card.length_spearman == pytest.approx(1.0) and card.longer_wins.value == 1.0
    verdict = decide(card, RewardGate(max_length_correlation=0.5))
    assert not verdict.passed and "follows length" in verdict.reason


def test_the_gate_says_how_far_from_the_ceiling_a_model_is():
    def fooled_by_some_prompts(prompts, completions):
        fooled = ["7" in prompt[0]["content"] for prompt in prompts]
        return [
            float(("kite" in text) != wrong)
            for wrong, text in zip(fooled, completions, strict=True)
        ]

    verdict = decide(reward_card(fooled_by_some_prompts, noisy_rows()), RewardGate())
    assert not verdict.passed
    assert "of the annotators' own" in verdict.reason and "90 % is asked for" in verdict.reason


def test_without_overlap_there_is_no_ceiling_and_the_gate_says_what_to_do():
    some = [{**row, "utility_chosen": None} for row in rows(60, annotators=1)]
    card = reward_card(scorer_of(lambda text: float("kite" in text)), some)
    verdict = decide(card, RewardGate())
    assert not verdict.passed and "collect.overlap" in verdict.reason
    assert decide(card, RewardGate(min_of_ceiling=None, min_accuracy=0.6)).passed


def test_the_card_goes_to_json_without_nan(tmp_path):
    card = reward_card(scorer_of(lambda text: 0.0), rows(4, annotators=1))
    card.write(tmp_path / "card.json")
    assert json.loads((tmp_path / "card.json").read_text())["pairs"] == 4


def test_the_fitted_model_passes_its_gate_on_held_out_pairs(fitted, tmp_path):
    train, held = hold_out(noisy_rows(120), 0.3, 1)
    fit(tmp_path, train)
    card = reward_card(QUICK.open(tmp_path / "out"), held)
    assert decide(card, RewardGate()).passed, card
    assert card.pairs == len(held)
