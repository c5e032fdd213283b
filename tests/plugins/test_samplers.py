"""Each sampler draws from the distribution its paper defines, on the reference loop."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sampling_laws import by_definition, chi_square_p
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.generation.logits_process import TypicalLogitsWarper

from tunesmith import Generation, ModelError, Sampler
from tunesmith.errors import ConfigError, PluginError
from tunesmith.generation.drawing import pick_by_chance, pick_largest, reshaper
from tunesmith.generation.reference import generate
from tunesmith.plugins import build, host

VOCABULARY = 40
DRAWS = 6000
PROMPT = [11, 0, 30, 26, 36, 32]
SPECS = [
    {"name": "random"},
    {"name": "temperature", "temperature": 0.6},
    {"name": "temperature", "temperature": 2.0},
    {"name": "top_k", "k": 5},
    {"name": "top_k", "k": 12, "temperature": 1.5},
    {"name": "top_p", "p": 0.7},
    {"name": "top_p", "p": 0.9, "temperature": 0.8},
    {"name": "min_p", "p": 0.2},
    {"name": "min_p", "p": 0.05, "temperature": 1.7},
    {"name": "typical", "mass": 0.4},
    {"name": "typical", "mass": 0.95, "temperature": 1.6},
    {"name": "repetition_penalty", "penalty": 1.5},
    {"name": "repetition_penalty", "penalty": 0.7, "sampler": {"name": "top_k", "k": 12}},
    {"name": "repetition_penalty", "penalty": 1.3, "sampler": "greedy"},
]
SEEN = [0, 2, 2, 3]


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=64, initializer_range=0.4,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def logits(model):
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0, -1].tolist()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_draws_follow_the_definition(model, logits, spec):
    how = Generation(build(Sampler, spec), 1, range(DRAWS), (), batch_size=500)
    drawn = [answer.ids[0] for answer in generate(model, [PROMPT] * DRAWS, how, str)]
    counts = np.bincount(drawn, minlength=VOCABULARY)
    expected = by_definition(spec, logits, PROMPT)
    assert not counts[expected == 0].any()
    assert chi_square_p(counts, DRAWS * expected) > 1e-3


def test_the_chi_square_test_can_tell_distributions_apart(logits):
    wrong = DRAWS * by_definition({"name": "temperature", "temperature": 1.1}, logits)
    counts = np.round(DRAWS * by_definition({"name": "random"}, logits))
    assert chi_square_p(counts, wrong) < 1e-3


def test_greedy_takes_the_largest_logit(model, logits):
    how = Generation(build(Sampler, "greedy"), 1, [0], ())
    assert generate(model, [PROMPT], how, str)[0].ids == [int(np.argmax(logits))]


def reshaped(spec, logits):
    """Return what a sampler makes of logits when every row has seen the same tokens."""
    return reshaper(build(Sampler, spec))(logits, [SEEN] * len(logits))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_support_of_every_row_is_the_defined_one(spec):
    generator = torch.Generator().manual_seed(4)
    batch = torch.randn(50, 30, generator=generator) * 3
    out = reshaped(spec, batch)
    for row, changed in zip(batch, out, strict=True):
        got = np.asarray(changed.double().softmax(-1))
        assert got == pytest.approx(by_definition(spec, row.tolist(), SEEN), abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ({"name": "top_k", "k": 1}, [1]),
        ({"name": "top_k", "k": 3}, [1, 2, 3]),
        ({"name": "top_k", "k": 99}, [0, 1, 2, 3]),
        ({"name": "top_p", "p": 1.0}, [0, 1, 2, 3]),
        ({"name": "top_p", "p": 1e-9}, [1]),
        ({"name": "min_p", "p": 1.0}, [1, 2]),
        ({"name": "min_p", "p": 0.0}, [0, 1, 2, 3]),
        ({"name": "typical", "mass": 1.0}, [0, 1, 2, 3]),
        ({"name": "typical", "mass": 1e-9}, [1]),
        ({"name": "typical", "mass": 0.5}, [1, 2]),
    ],
)
def test_the_edges_and_ties_are_the_stated_ones(spec, kept):
    out = build(Sampler, spec)(torch.tensor([[0.0, 2.0, 2.0, 1.0]]))
    assert out[0].isfinite().nonzero().flatten().tolist() == kept


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_token_ruled_out_before_stays_ruled_out(spec):
    out = reshaped(spec, torch.tensor([[-math.inf, 1.0, 0.5, 0.4]]))
    assert out[0, 0] == -math.inf


THEIR_NAMES = {
    "k": "top_k", "temperature": "temperature", "mass": "typical_p", "penalty": "repeat_penalty",
}  # fmt: skip
ALSO_SAID = {"temperature": [], "penalties": ["repeat_penalty", "repeat_last_n"]}


@pytest.mark.parametrize("spec", [{"name": "greedy"}, *SPECS], ids=str)
def test_llamacpp_is_told_the_order_and_every_option(spec):
    options = build(Sampler, spec).engine_options("llamacpp")
    said = THEIR_NAMES | {"p": spec["name"]}
    for option, value in spec.items():
        if option not in ("name", "sampler"):
            assert options[said[option]] == value
    order = [name for name in options["samplers"] if name != "penalties"]
    assert order[0] == "temperature"
    assert set(options) == {"samplers", *ALSO_SAID[options["samplers"][0]]} | {
        {"typ_p": "typical_p"}.get(name, name) for name in order
    }
    assert build(Sampler, spec).engine_options("some other engine") is None


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "temperature", "temperature": 0},
        {"name": "temperature", "temperature": math.nan},
        {"name": "top_k", "k": 0},
        {"name": "top_p", "p": 0},
        {"name": "top_p", "p": 1.1},
        {"name": "min_p", "p": -0.1},
        {"name": "top_p", "top_p": 0.9},
        {"name": "typical", "mass": 0},
        {"name": "typical", "mass": 1.01},
        {"name": "typical", "typical_p": 0.9},
        {"name": "typical", "temperature": math.inf},
        {"name": "repetition_penalty", "penalty": 0},
        {"name": "repetition_penalty", "penalty": math.nan},
        {"name": "repetition_penalty", "sampler": "beam"},
    ],
    ids=str,
)
def test_an_option_out_of_range_is_refused(spec):
    with pytest.raises((ConfigError, PluginError), match=spec["name"]):
        build(Sampler, spec)


def test_typical_keeps_what_transformers_keeps():
    batch = torch.randn(200, 50, generator=torch.Generator().manual_seed(5)) * 4
    for mass in (0.2, 0.5, 0.95):
        theirs = TypicalLogitsWarper(mass)(None, batch.clone())
        assert torch.equal(build(Sampler, {"name": "typical", "mass": mass})(batch), theirs)


def test_typical_may_leave_out_the_best_token():
    logits = torch.tensor([[0.4, *[0.05] * 12]]).log()
    out = build(Sampler, {"name": "typical", "mass": 0.5})(logits)
    assert out[0, 0] == -math.inf


def test_a_certain_token_among_impossible_ones_is_typical():
    """The entropy of what has no probability is 0, and not 0 times infinity."""
    out = build(Sampler, {"name": "typical", "temperature": 0.01})(torch.tensor([[50.0, 0, -90]]))
    assert out[0].isfinite().tolist() == [True, False, False]


def new_tokens(model, prompt, penalty, count):
    sampler = {"name": "repetition_penalty", "penalty": penalty, "sampler": "greedy"}
    how = Generation(build(Sampler, sampler), count, [0], ())
    return generate(model, [prompt], how, str)[0].ids


@pytest.mark.parametrize("penalty", [0.8, 1.2, 2.0])
def test_a_penalised_answer_equals_that_of_transformers(model, penalty):
    prompts = torch.randint(0, VOCABULARY, (8, 6), generator=torch.Generator().manual_seed(1))
    for prompt in prompts:
        theirs = model.generate(
            input_ids=prompt[None], attention_mask=torch.ones(1, 6), do_sample=False,
            repetition_penalty=penalty, max_new_tokens=30, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert new_tokens(model, prompt.tolist(), penalty, 30) == theirs[0, 6:].tolist()


def test_a_greater_penalty_repeats_less(model):
    different = [len(set(new_tokens(model, PROMPT, by, 40))) for by in (0.9, 1.0, 1.5, 5.0)]
    assert different == sorted(different)
    assert different[0] < different[-1]


def test_the_penalty_is_large_enough_to_be_seen_in_the_draws(logits):
    spec = {"name": "repetition_penalty", "penalty": 1.5}
    without = np.round(DRAWS * by_definition({"name": "random"}, logits))
    assert chi_square_p(without, DRAWS * by_definition(spec, logits, PROMPT)) < 1e-9


BROKEN = {
    "one NaN": ([0.0, math.nan, 1.0], "not numbers in 1 of 2 rows"),
    "only NaN": ([math.nan] * 3, "not numbers in 1 of 2 rows"),
    "infinity": ([0.0, math.inf, 1.0], "not numbers in 1 of 2 rows"),
    "nothing left": ([-math.inf] * 3, "ruled out every token of a row"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("spec", [{"name": "greedy"}, *SPECS], ids=str)
def test_logits_nothing_can_be_drawn_from_are_one_clear_error(spec, broken):
    row, says = BROKEN[broken]
    sampler = build(Sampler, spec)
    out = reshaper(sampler)(torch.tensor([[0.1, 0.2, 0.3], row]), [[0], [0, 2]])
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    with pytest.raises(ModelError, match=says):
        pick_by_chance(out, half) if sampler.draws else pick_largest(out)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"sampler": "gredy"}, "penalty.sampler: No Sampler is named 'gredy'.*'greedy'"),
        ({"sampler": {"name": "top_k", "k": 0}}, "top_k.k: expected greater than or equal to 1"),
        ({"sampler": {"name": "top_k", "n": 3}}, "top_k has no option 'n'.*Options: k, temp"),
        ({"sampler": 3}, "expected a Sampler's name"),
        ({"sampler": "best_of_n"}, "chooses among whole answers"),
    ],
)
def test_a_wrong_inner_sampler_is_named(spec, says):
    with pytest.raises(ConfigError, match=says):
        build(Sampler, {"name": "repetition_penalty", **spec})


def test_an_inner_sampler_survives_being_written_down():
    spec = {"name": "repetition_penalty", "sampler": {"name": "top_p", "p": 0.7}}
    sampler = build(Sampler, spec)
    again = build(Sampler, {"name": sampler.name, **sampler.model_dump(mode="json")})
    assert again == sampler
    assert again.sampler.p == 0.7


def test_every_sampler_has_a_section_and_every_example_in_it_works():
    page = (Path(__file__).parents[2] / "docs/samplers.md").read_text(encoding="utf-8")
    own = [
        one.name
        for one in host().available(Sampler).values()
        if host().provenance(one).distribution == "tunesmith"
    ]
    assert len(own) >= 10
    for name in own:
        assert f"| [`{name}`](#{name}) |" in page
        assert f"\n## {name}\n" in page
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 5
    for example in examples:
        build(Sampler, yaml.safe_load(example)["sampler"])
