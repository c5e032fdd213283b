"""Styles that ask more than once: what they ask, what they draw, and what that is worth."""

from collections import Counter
from random import Random

import pytest
from tiny_models import tiny_model

from tunesmith import Completion, ModelError, PromptStyle, Sampler, plugins
from tunesmith.errors import ConfigError, PluginError
from tunesmith.evidence.grading import sit
from tunesmith.generation.asking import Asker
from tunesmith.models import load_tokenizer
from tunesmith.prompts import label
from tunesmith_plugins.prompting.chain_of_thought import ChainOfThought
from tunesmith_plugins.prompting.self_consistency import SelfConsistency
from tunesmith_plugins.prompting.step_back import StepBack
from tunesmith_plugins.tasks.creative_writing import CreativeWriting
from tunesmith_plugins.tasks.maths_reasoning import MathsReasoning

TASK = MathsReasoning(max_new_tokens=20)
GREEDY = plugins.build(Sampler, "greedy")


def rows(count):
    return [
        {
            "id": f"sum-{n}",
            "prompt": [{"role": "user", "content": f"What is {n} plus {n}?"}],
            "reference": {"answer": str(2 * n)},
        }
        for n in range(count)
    ]


class Fake:
    """An open engine whose answers are a function of the prompt's text and the seed."""

    def __init__(self, tokenizer, say):
        self.tokenizer, self.say, self.asked = tokenizer, say, []

    def generate(self, prompts, how):
        self.asked.append((prompts, how))
        texts = [self.tokenizer.decode(ids) for ids in prompts]
        said = [self.say(text, seed) for text, seed in zip(texts, how.seeds, strict=True)]
        return [Completion(self.tokenizer.encode(text), text, "stop") for text in said]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(tiny_model(context=1024))


@pytest.fixture
def asker(tokenizer):
    """Return a function that makes an asker over a fake engine."""

    def _asker(say, asked, context=None, seed=3, style="a style"):
        names = [row["id"] for row in asked]
        fake = Fake(tokenizer, say)
        return Asker(fake, tokenizer, (1,), context, style, TASK, names, GREEDY, seed)

    return _asker


def noisy(text, seed):
    """Answer right four times in ten, else with one of six wrong numbers, evenly."""
    n, rng = int(text.split("What is ")[1].split()[0]), Random(seed)
    wrong = 2 * n + rng.choice([1, 2, 3, 4, 5, 6])
    return f"Let me see. The answer is {2 * n if rng.random() < 0.4 else wrong}."


class TestSelfConsistency:
    def solved(self, asker, samples, count=200):
        asked = rows(count)
        style = SelfConsistency(samples=samples)
        answers = sit("fake", TASK, style, asked, [], asker(noisy, asked))
        return sum(answer.correct for answer in answers) / count, answers

    def test_beats_a_single_sample_of_a_noisy_model_and_more_samples_beat_fewer(self, asker):
        asked = rows(200)
        single = sit("fake", TASK, ChainOfThought(), asked, [], asker(noisy, asked))
        one = sum(answer.correct for answer in single) / 200
        few, _ = self.solved(asker, 5)
        many, _ = self.solved(asker, 25)
        assert one == pytest.approx(0.4, abs=0.08)
        assert few > one + 0.1
        assert many > 0.9

    def test_returns_a_sample_of_the_majority_with_the_votes(self, asker):
        _, answers = self.solved(asker, 9, count=20)
        for answer in answers:
            votes = answer.details["votes"]
            assert sum(votes.values()) == 9
            said = TASK.score(rows(20)[0], answer.text).extracted
            assert votes[said] == max(votes.values())

    def test_settles_ties_for_the_answer_that_was_drawn_first(self, asker):
        asked = rows(1)
        script = iter(["7", "9", "9", "7", "5"])
        ask = asker(lambda text, seed: f"The answer is {next(script)}.", asked)
        (answer,) = sit("fake", TASK, SelfConsistency(samples=5), asked, [], ask)
        assert answer.text == "The answer is 7."
        assert answer.details["votes"] == {"7": 2, "9": 2, "5": 1}

    def test_counts_spellings_of_one_number_together_and_silence_not_at_all(self, asker):
        asked = rows(1)
        script = iter(["Hm.", "Hm.", "Hm.", "3", "12.0", "12"])
        ask = asker(lambda text, seed: next(script), asked)
        (answer,) = sit("fake", TASK, SelfConsistency(samples=6), asked, [], ask)
        assert answer.text == "12.0" and answer.details["votes"] == {"3": 1, "12": 2}

    def test_a_model_that_answers_nothing_gets_its_first_sample_scored(self, asker):
        ask = asker(lambda text, seed: "Hm.", rows(1))
        (answer,) = sit("fake", TASK, SelfConsistency(samples=3), rows(1), [], ask)
        assert (answer.text, answer.correct, answer.details["votes"]) == ("Hm.", False, {})

    def test_the_right_answer_does_not_sway_the_vote(self, asker):
        asked = rows(2)[1:]
        script = iter(["5", "2", "5"])
        ask = asker(lambda text, seed: next(script), asked)
        (answer,) = sit("fake", TASK, SelfConsistency(samples=3), asked, [], ask)
        assert answer.text == "5" and not answer.correct

    def test_draws_with_its_own_sampler_and_asks_as_its_style_does(self, asker):
        asked = rows(2)
        ask = asker(noisy, asked)
        style = SelfConsistency(
            samples=4, sampler={"name": "temperature", "temperature": 0.5}, style="zero_shot"
        )
        answers = sit("fake", TASK, style, asked, [], ask)
        (prompts, how), *more = ask.engine.asked
        assert not more and len(prompts) == 8 and how.sampler.name == "temperature"
        assert "step by step" not in ask.tokenizer.decode(prompts[0])
        assert answers[0].tokens == sum(
            len(ask.tokenizer.encode(noisy("What is 0 plus", seed))) for seed in how.seeds[:4]
        )

    def test_refuses_what_it_cannot_work_with(self, asker):
        assert "sampler that draws; greedy" in SelfConsistency(sampler="greedy").problems()[0]
        assert "step_back asks several" in SelfConsistency(style="step_back").problems()[0]
        assert SelfConsistency().problems() == []
        with pytest.raises(ConfigError, match="creative_writing differ in their words"):
            sit("fake", CreativeWriting(), SelfConsistency(), rows(1), [], asker(noisy, rows(1)))


class TestDraws:
    def drawn(self, asker, asked, samples, seed=3):
        ask = asker(noisy, asked, seed=seed)
        said = ask([row["prompt"] for row in asked], n=samples)
        return {
            row["id"]: [one.text for one in texts] for row, texts in zip(asked, said, strict=True)
        }

    def test_of_a_row_do_not_depend_on_the_others_nor_on_how_many_samples_follow(self, asker):
        everything = self.drawn(asker, rows(6), 8)
        alone = self.drawn(asker, rows(6)[4:5], 3)
        backwards = self.drawn(asker, rows(6)[::-1], 8)
        assert alone["sum-4"] == everything["sum-4"][:3]
        assert backwards == everything

    def test_of_one_row_differ_from_each_other_and_with_the_seed(self, asker):
        first = self.drawn(asker, rows(5), 20)
        assert all(len(set(texts)) > 1 for texts in first.values())
        assert first == self.drawn(asker, rows(5), 20)
        assert first != self.drawn(asker, rows(5), 20, seed=4)

    def test_have_seeds_of_their_own_in_every_call(self, asker):
        ask = asker(noisy, rows(3))
        conversations = [row["prompt"] for row in rows(3)]
        ask(conversations, n=4)
        ask(conversations, n=4)
        seeds = Counter(seed for _, how in ask.engine.asked for seed in how.seeds)
        assert len(seeds) == 24


class TestStepBack:
    def test_makes_two_calls_and_the_second_holds_what_the_first_said(self, asker):
        asked = rows(3)

        def say(text, seed):
            which = text.split("What is ")[1].split()[0]
            return f"RULE-{which}" if text.count("RULE") == 0 else f"So it is {2 * int(which)}."

        ask = asker(say, asked)
        style = StepBack(rule_tokens=11)
        answers = sit("fake", TASK, style, asked, [], ask)
        (first, how_first), (second, how_second) = ask.engine.asked
        assert (how_first.max_new_tokens, how_second.max_new_tokens) == (11, 20)
        for n, (one, two) in enumerate(zip(first, second, strict=True)):
            before, after = ask.tokenizer.decode(one), ask.tokenizer.decode(two)
            assert "general rule" in before and "RULE" not in before
            assert f"RULE-{n}" in after and "apply the rule" in after
        assert [answer.correct for answer in answers] == [True] * 3
        assert answers[1].details == {"rule": "RULE-1"}
        assert answers[1].tokens == sum(
            len(ask.tokenizer.encode(text)) for text in ("RULE-1", "So it is 2.")
        )

    def test_asks_the_question_alone_when_the_model_knew_no_rule(self, asker):
        ask = asker(lambda text, seed: " ", rows(1))
        sit("fake", TASK, StepBack(), rows(1), [], ask)
        said = ask.tokenizer.decode(ask.engine.asked[1][0][0])
        assert "general rule" not in said and "What is 0 plus 0?" in said


class TestLimits:
    def test_a_prompt_the_context_cannot_hold_is_one_error_with_style_and_lengths(self, asker):
        asked = rows(3)
        asked[1] = {**asked[1], "question": "What is 1 plus 1? " * 40}
        ask = asker(noisy, asked, context=128, style=label(ChainOfThought()))
        with pytest.raises(ModelError) as caught:
            sit("fake", TASK, ChainOfThought(), asked, [], ask)
        text = str(caught.value)
        assert "The style chain_of_thought writes prompts of up to" in text
        assert "(row sum-1); with an answer of 20 they exceed the model's context of 128" in text
        assert "in 1 of 3 rows" in text
        assert ask.engine.asked == []

    def test_a_style_that_asks_too_little_is_told_so(self, asker):
        with pytest.raises(PluginError, match="asked 1 conversations for 2 rows"):
            asker(noisy, rows(2), style="mine")([rows(1)[0]["prompt"]])


def test_a_stranger_s_style_needs_nothing_but_messages(asker):
    class Shout(PromptStyle):
        name = "shout"

        def messages(self, task, row, shots):
            return [{"role": "user", "content": task.question(row).upper().replace("WHAT", "What")}]

    ask = asker(lambda text, seed: "0", rows(1))
    (answer,) = sit("fake", TASK, Shout(), rows(1), [], ask)
    assert answer.correct and answer.style == "shout" and answer.details == {}


def test_a_label_says_every_option_that_is_not_the_default():
    assert label(SelfConsistency()) == "self_consistency"
    assert label(SelfConsistency(samples=4, sampler="random")) == (
        "self_consistency(samples=4, sampler=random)"
    )
    one, two = (ChainOfThought(instruction=f"\nThink: {word}!") for word in ("a", "b"))
    assert label(one) != label(two) and ":" not in label(one)
