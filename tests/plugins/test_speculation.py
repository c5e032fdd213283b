"""Speculation in both engines, as a config switches it on: fewer steps, the same answers."""

from __future__ import annotations

import pytest
import torch
from tiny_models import sentences, tiny_model

from tunesmith import Accelerator, Engine, Generation, ModelError, Quantizer, Sampler
from tunesmith.errors import ConfigError
from tunesmith.generation.accelerate import with_accelerators
from tunesmith.generation.proof import prove
from tunesmith.models import load_model, load_tokenizer, save_model
from tunesmith.plugins import build
from tunesmith.training.scratch import train_tokenizer


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def drafter(tmp_path_factory):
    """A folder with a model that often agrees with the tiny one."""
    model = load_model(tiny_model())
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.002
    folder = tmp_path_factory.mktemp("drafter")
    save_model(model, load_tokenizer(tiny_model()), folder)
    return folder


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A folder with a model of another tokenizer."""
    folder = tmp_path_factory.mktemp("stranger")
    tokenizer = train_tokenizer(["wholly other words make other merges"] * 50, 400, 128)
    save_model(load_model(tiny_model()), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def prompts():
    tokenizer = load_tokenizer(tiny_model())
    return [tokenizer(f"{text} {text}")["input_ids"][:60] for text in sentences(9, seed=2)]


def in_gguf(folder, out):
    build(Quantizer, {"name": "gguf", "type": "f32"}).quantize(folder, out)
    return out


@pytest.fixture(scope="module")
def folders(drafter, stranger, tmp_path_factory):
    """Return (model, draft, stranger) in the format of each engine."""
    plain = (tiny_model(), drafter, stranger)
    made = [in_gguf(one, tmp_path_factory.mktemp("gguf")) for one in plain]
    return {"transformers": plain, "llamacpp": tuple(made)}


def accelerators(kind, draft):
    if kind == "lookup":
        return [build(Accelerator, {"name": "speculative_prompt_lookup", "tokens": 3, "after": 1})]
    return [build(Accelerator, {"name": "speculative_draft_model", "model": str(draft)})]


def answers(engine, model, prompts, sampler="greedy"):
    how = Generation(build(Sampler, sampler), 40, range(len(prompts)), (1,))
    with engine.open(model) as opened:
        return opened.generate(prompts, how), dict(opened.counts)


@pytest.mark.parametrize("kind", ["lookup", "draft"])
@pytest.mark.parametrize("name", ["transformers", "llamacpp"])
def test_greedy_answers_are_the_same_in_fewer_steps(name, kind, folders, prompts):
    model, draft, _ = folders[name]
    plain = build(Engine, name)
    fast = with_accelerators(plain, accelerators(kind, draft))
    ours, counts = answers(fast, model, prompts)
    assert ours == answers(plain, model, prompts)[0]
    assert counts["accepted"] > 0
    assert counts["target_steps"] < counts["plain_steps"]


@pytest.mark.parametrize("name", ["transformers", "llamacpp"])
def test_the_proof_holds_with_a_draft_model(name, folders, prompts):
    model, draft, _ = folders[name]
    found = prove(
        build(Engine, name), accelerators("draft", draft), model, prompts[:4], (1,), 24, 80
    )
    assert found.lossless, found.sentence()
    assert found.identical + len(found.mismatches) == 4
    assert found.own_error is not None
    assert found.saved > 0


@pytest.mark.parametrize("name", ["transformers", "llamacpp"])
def test_a_draft_model_of_another_tokenizer_is_refused_in_one_sentence(name, folders):
    model, _, stranger = folders[name]
    fast = with_accelerators(build(Engine, name), accelerators("draft", stranger))
    with pytest.raises(ModelError, match=r"has another tokenizer than .*same tokenizer") as refused:
        answers(fast, model, [[5, 6]])
    assert str(refused.value).count(". ") == 0
    (said,) = accelerators("draft", stranger)[0].problems_with_model(model)
    assert said == str(refused.value)


def test_a_draft_model_that_is_not_there_is_known_before():
    one = build(Accelerator, {"name": "speculative_draft_model", "model": "/no/such/folder"})
    assert "No model folder" in one.problems()[0]


def test_what_a_draft_model_weighs_is_part_of_what_an_answer_depends_on(drafter):
    one, other = (
        build(Accelerator, {"name": "speculative_draft_model", "model": str(folder)}).fingerprint()
        for folder in (drafter, tiny_model())
    )
    assert one != other


@pytest.mark.parametrize("name", ["transformers", "llamacpp"])
def test_two_sources_of_guesses_are_refused(name, drafter):
    both = accelerators("lookup", None) + accelerators("draft", drafter)
    with pytest.raises(ConfigError, match=r"guesses come from the text .* or from a draft model"):
        with_accelerators(build(Engine, name), both)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_runs_on_the_code_that_was_chosen(implementation, prompts):
    plain = build(Engine, "transformers")
    chosen = build(Accelerator, {"name": "attention", "implementation": implementation})
    with with_accelerators(plain, [chosen]).open(tiny_model()) as opened:
        assert opened.model.config._attn_implementation == implementation
    found = prove(plain, [chosen], tiny_model(), prompts[:3], (1,), 12, 0)
    assert found.lossless


def test_flash_attention_is_refused_in_exact_mode_and_runs_without():
    flash = build(Accelerator, {"name": "attention", "implementation": "flash"})
    with pytest.raises(ConfigError, match=r"flash attention changes the last bits.*exact: false"):
        with_accelerators(build(Engine, "llamacpp"), [flash])
    loose = with_accelerators(build(Engine, {"name": "llamacpp", "exact": False}), [flash])
    assert loose.flash_attention == "on"


def test_flash_attention_answers(folders, prompts):
    engine = build(Engine, {"name": "llamacpp", "exact": False, "flash_attention": "on"})
    found, _ = answers(engine, folders["llamacpp"][0], prompts)
    assert [len(one.ids) for one in found].count(0) == 0


def test_an_attention_of_another_engine_is_refused():
    flash = build(Accelerator, {"name": "attention", "implementation": "flash"})
    with pytest.raises(ModelError, match="'transformers' has no attention 'flash'; it has sdpa"):
        with_accelerators(build(Engine, "transformers"), [flash])


def test_a_missing_flash_attention_is_known_before():
    one = build(Accelerator, {"name": "attention", "implementation": "flash_attention_2"})
    assert ["flash-attn" in said for said in one.problems()] == [True]
