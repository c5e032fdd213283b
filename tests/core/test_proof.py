"""The proof tells a technique that changes answers from one that does not, and hides nothing."""

from __future__ import annotations

import json
from random import Random

import pytest
import torch
from tiny_models import SHAPE, tiny_model

from tunesmith import Accelerator, Completion, Engine, Sampler
from tunesmith.cli import main
from tunesmith.errors import DataError
from tunesmith.generation import proof as proving
from tunesmith.generation.proof import ALPHA, prove, same_law
from tunesmith.generation.proof_prompts import PROMPTS, asked_of, read_prompts
from tunesmith.models import load_tokenizer, save_model
from tunesmith.plugins import build
from tunesmith.training.scratch import new_model
from tunesmith_plugins.engines.reference import OpenTransformers, TransformersEngine


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def asked():
    return asked_of(tiny_model(), PROMPTS[:6], 16)


@pytest.fixture(scope="module")
def sharp(tmp_path_factory):
    """A folder with a random model that has preferences."""
    tokenizer = load_tokenizer(tiny_model())
    model = new_model(SHAPE.model_copy(update={"tied_embeddings": False}), tokenizer, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter *= 25.0 if "lm_head" in name else 10.0
    folder = tmp_path_factory.mktemp("sharp")
    save_model(model, tokenizer, folder)
    return folder


def proof_of(accelerator, asked, engine=None, draws=60, folder=None):
    prompts, stops = asked
    chosen = engine or build(Engine, "transformers")
    return prove(chosen, [accelerator], folder or tiny_model(), prompts, stops, 16, draws)


def test_prompt_lookup_is_proved_lossless_and_its_steps_are_counted(asked):
    found = proof_of(build(Accelerator, "speculative_prompt_lookup"), asked)
    assert found.lossless
    assert (found.identical, found.mismatches) == (6, [])
    assert found.tokens == sum(len(text) for text in greedy(asked))
    assert found.p_value >= ALPHA
    assert found.draws == 180
    assert found.saved == found.counts["plain_steps"] - found.counts["target_steps"]
    assert 0 < found.own_error < 1e-3


def greedy(asked):
    from tunesmith import Generation

    prompts, stops = asked
    how = Generation(build(Sampler, "greedy"), 16, [0] * len(prompts), stops)
    with build(Engine, "transformers").open(tiny_model()) as opened:
        return [answer.ids for answer in opened.generate(prompts, how)]


class Coarse(Accelerator):
    """Rounds to eight bits of mantissa, which is no way to keep an answer."""

    name = "coarse"
    engine = "transformers"

    def options(self):
        return {"dtype": "bfloat16"}


class Warm(TransformersEngine):
    """Draws from another distribution; its greedy answers are the same."""

    warm: bool = False

    def open(self, model):
        return super().open(model) if not self.warm else Heated(super().open(model))


class Heated:
    def __init__(self, context):
        self.context = context

    def __enter__(self):
        self.opened = self.context.__enter__()
        return self

    def __exit__(self, *problem):
        return self.context.__exit__(*problem)

    def generate(self, prompts, how):
        from dataclasses import replace

        if how.sampler.draws:
            how = replace(how, sampler=build(Sampler, {"name": "temperature", "temperature": 0.5}))
        return self.opened.generate(prompts, how)


class Warmer(Accelerator):
    name = "warmer"
    engine = "transformers"

    def options(self):
        return {"warm": True}


def test_an_answer_that_changes_is_told_with_its_margin_and_fails_the_proof(asked, sharp):
    found = proof_of(Coarse(), asked, draws=0, folder=sharp)
    assert found.mismatches
    assert found.identical == 6 - len(found.mismatches)
    assert not found.lossless
    assert "CHANGES answers" in found.sentence()
    for one in found.mismatches:
        assert one.margin > found.own_error
        assert not one.tie
    assert found.facts()["mismatches"][0]["margin"] == found.mismatches[0].margin


def test_another_distribution_fails_the_proof_although_greedy_answers_agree(asked, sharp):
    found = proof_of(Warmer(), asked, Warm(), draws=300, folder=sharp)
    assert found.mismatches == []
    assert found.p_value < ALPHA
    assert not found.lossless
    assert "from ANOTHER one" in found.sentence()


class Told:
    """An engine that says what it is told to, and weighs tokens as it is told to."""

    def __init__(self, weights):
        self.weights = weights

    def next_logprobs(self, texts, most):
        return [self.weights] * len(texts)

    def generate(self, prompts, how):
        return [Completion([], "", "length")] * len(prompts)


@pytest.mark.parametrize(
    ("weights", "error", "margin", "tie"),
    [
        ({7: -1.0, 8: -1.0 - 1e-6}, 1e-5, 1e-6, True),
        ({7: -1.0, 8: -1.0 - 1e-4}, 1e-5, 1e-4, False),
        ({7: -1.0, 8: -1.0 - 1e-6}, None, 1e-6, False),  # without an error nothing is a tie
        ({7: -1.0}, 1e-5, None, False),  # a token that is not among the best is no tie
    ],
)
def test_a_mismatch_is_a_tie_only_below_the_engines_own_error(weights, error, margin, tie):
    found = proving.mismatch_of(Told(weights), 2, [1, 2], [5, 7, 9], [5, 8, 9], error)
    assert (found.prompt, found.place, found.plain, found.fast) == (2, 1, 7, 8)
    assert found.margin == (pytest.approx(margin) if margin else None)
    assert found.tie is tie


def test_an_answer_that_ends_early_is_no_tie():
    found = proving.mismatch_of(Told({}), 0, [1], [5, 7], [5], 1.0)
    assert (found.place, found.plain, found.fast, found.tie) == (1, 7, -1, False)


def draws_of(law, count, seed):
    random = Random(seed)
    keys = list(law)
    return [(random.choices(keys, law.values())[0],) for _ in range(count)]


LAW = {token: 2.0**-token for token in range(1, 12)}


def test_equal_distributions_are_called_different_as_rarely_as_promised():
    values = [
        same_law([draws_of(LAW, 150, seed)], [draws_of(LAW, 150, 1000 + seed)])
        for seed in range(200)
    ]
    assert min(values) >= ALPHA / 10
    assert 0.02 <= sum(value < 0.1 for value in values) / 200 <= 0.2


def test_a_distribution_that_is_off_by_a_tenth_is_noticed():
    other = LAW | {1: 0.7}
    assert same_law([draws_of(LAW, 4000, 1)], [draws_of(other, 4000, 2)]) < ALPHA
    assert same_law([[(1,)] * 50], [[(2,)] * 50]) < ALPHA


def test_a_nearly_flat_law_is_tested_too():
    flat, steep = dict.fromkeys(range(400), 1.0), {token: 0.985**token for token in range(400)}
    assert same_law([draws_of(flat, 600, 1)], [draws_of(flat, 600, 2)]) >= ALPHA
    few = [draws_of(flat, 600, 1)], [draws_of({7: 1.0, **steep}, 600, 2)]
    assert same_law(*few) is not None
    assert same_law([[(1,), (2,)]], [[(3,), (4,)]]) is None


def test_no_draw_is_no_test_and_one_outcome_is_no_difference():
    assert same_law([], []) is None
    assert same_law([[(4, 4)] * 20], [[(4, 4)] * 20]) == 1.0


def test_prompts_of_a_file(tmp_path):
    plain, lines = tmp_path / "a.txt", tmp_path / "b.jsonl"
    plain.write_text("What is 1 plus 1?\n\nSay kite.\n")
    lines.write_text('{"prompt": [{"role": "user", "content": "Hi"}]}\n{"prompt": "Ho"}\n')
    assert read_prompts(plain) == ["What is 1 plus 1?", "Say kite."]
    assert read_prompts(lines) == [[{"role": "user", "content": "Hi"}], "Ho"]
    lines.write_text('{"prompt": "Ho"}\n{"question": "Ha"}\n')
    with pytest.raises(DataError, match=r"b\.jsonl, line 2"):
        read_prompts(lines)
    plain.write_text("\n")
    with pytest.raises(DataError, match="holds no prompt"):
        read_prompts(plain)


def test_a_prompt_leaves_room_for_its_answer():
    prompts, _ = asked_of(tiny_model(), ["kite " * 400], 100)
    assert len(prompts[0]) == 28


def test_the_command_prints_the_proof(capfd, tmp_path):
    asked = tmp_path / "asked.txt"
    asked.write_text("Say kite twice.\nTom found 7 kites.\n")
    base = ["prove", str(tiny_model()), "--prompts", str(asked), "--new", "12", "--draws", "20"]
    spec = "{name: speculative_prompt_lookup, tokens: 3}"
    assert main([*base, "--accelerator", spec, "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    assert found["lossless"]
    assert found["accelerators"] == ["speculative_prompt_lookup"]
    assert (found["prompts"], found["identical"], found["draws"]) == (2, 2, 40)
    assert main(base) == 0
    out = capfd.readouterr().out
    assert "speculative_prompt_lookup changes no answer: 2 of 2 greedy answers" in out
    assert "margins move by up to" in out


def test_the_command_refuses_an_accelerator_of_another_engine(capfd):
    code = main(["prove", str(tiny_model()), "--accelerator", "prefix_cache"])
    assert code != 0
    assert "is for the engine 'llamacpp'" in capfd.readouterr().err


def test_the_reference_engine_weighs_tokens():
    with build(Engine, "transformers").open(tiny_model()) as opened:
        assert isinstance(opened, OpenTransformers)
        assert isinstance(opened, proving.Weighs)
        (few,) = opened.next_logprobs([[5, 6, 7]], 4)
        (every,) = opened.next_logprobs([[5, 6, 7]], 10_000)
    assert len(few) == 4
    assert list(few) == list(every)[:4]
    assert sum(torch.tensor(list(every.values())).exp()).item() == pytest.approx(1, abs=1e-6)
