"""Each sampler draws from the distribution its paper defines, on the reference loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tunesmith import Generation, Sampler
from tunesmith.errors import ConfigError, PluginError
from tunesmith.generation.reference import generate
from tunesmith.plugins import build

VOCABULARY = 40
DRAWS = 6000
PROMPT = [3, 9, 27]
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
]


def by_definition(spec, logits):
    """Return the probabilities that the papers define, written without the samplers' code."""
    scaled = np.asarray(logits, dtype=np.float64) / spec.get("temperature", 1.0)
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    keep = np.ones_like(p, dtype=bool)
    if spec["name"] == "top_k":
        keep = p >= np.sort(p)[-spec["k"]]
    if spec["name"] == "min_p":
        keep = p >= spec["p"] * p.max()
    if spec["name"] == "top_p":
        ranked = np.argsort(-p)
        size = int(np.searchsorted(np.cumsum(p[ranked]), spec["p"])) + 1
        keep = np.isin(np.arange(len(p)), ranked[:size])
    p = np.where(keep, p, 0.0)
    return p / p.sum()


def chi_square_p(counts, expected):
    """Return the chance of counts at least this far off; bins expecting under 5 are joined."""
    rare = expected < 5
    seen = np.append(counts[~rare], counts[rare].sum())
    meant = np.append(expected[~rare], expected[rare].sum())
    seen, meant = seen[meant > 0], meant[meant > 0]
    statistic = float(((seen - meant) ** 2 / meant).sum())
    half = torch.tensor([(len(meant) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


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
    expected = by_definition(spec, logits)
    assert not counts[expected == 0].any()
    assert chi_square_p(counts, DRAWS * expected) > 1e-3


def test_the_chi_square_test_can_tell_distributions_apart(logits):
    wrong = DRAWS * by_definition({"name": "temperature", "temperature": 1.1}, logits)
    counts = np.round(DRAWS * by_definition({"name": "random"}, logits))
    assert chi_square_p(counts, wrong) < 1e-3


def test_greedy_takes_the_largest_logit(model, logits):
    how = Generation(build(Sampler, "greedy"), 1, [0], ())
    assert generate(model, [PROMPT], how, str)[0].ids == [int(np.argmax(logits))]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_support_of_every_row_is_the_defined_one(spec):
    generator = torch.Generator().manual_seed(4)
    batch = torch.randn(50, 30, generator=generator) * 3
    out = build(Sampler, spec)(batch)
    for row, reshaped in zip(batch, out, strict=True):
        got = np.asarray(reshaped.double().softmax(-1))
        assert got == pytest.approx(by_definition(spec, row.tolist()), abs=1e-6)


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
    ],
)
def test_the_edges_and_ties_are_the_stated_ones(spec, kept):
    out = build(Sampler, spec)(torch.tensor([[0.0, 2.0, 2.0, 1.0]]))
    assert out[0].isfinite().nonzero().flatten().tolist() == kept


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_token_ruled_out_before_stays_ruled_out(spec):
    out = build(Sampler, spec)(torch.tensor([[-math.inf, 1.0, 0.5, 0.4]]))
    assert out[0, 0] == -math.inf


@pytest.mark.parametrize("spec", [{"name": "greedy"}, *SPECS], ids=str)
def test_llamacpp_is_told_the_order_and_every_option(spec):
    options = build(Sampler, spec).engine_options("llamacpp")
    names = {"name": None, "k": "top_k", "p": spec["name"], "temperature": "temperature"}
    for option, value in spec.items():
        if names[option]:
            assert options[names[option]] == value
    assert options["samplers"][0] == "temperature"
    assert set(options) - {"samplers"} == set(options["samplers"])
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
    ],
    ids=str,
)
def test_an_option_out_of_range_is_refused(spec):
    with pytest.raises((ConfigError, PluginError), match=spec["name"]):
        build(Sampler, spec)
