"""Streams of engines: the tokens of `generate`, one by one, with the model's own probabilities."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith import Engine, Generation, ModelError, Quantizer, Sampler, load_tokenizer, plugins
from tunesmith.generation.scoring import score_logprobs
from tunesmith.models import load_model, resolve_model
from tunesmith.serving.sampling import sampler_of
from tunesmith_plugins.engines import llamacpp
from tunesmith_plugins.engines.llamacpp_stream import Stream

NANO = resolve_model("builtin:nano")
TOKENIZER = load_tokenizer(NANO)
PROMPT = TOKENIZER("The girl saw", add_special_tokens=False)["input_ids"]
SAMPLERS = (
    "greedy", {"name": "temperature", "temperature": 2.0}, {"name": "min_p", "p": 0.02},
    {"name": "repetition_penalty", "penalty": 1.3},
)  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Both engines with the nano model, open; llama.cpp with its weights as they are."""
    out = tmp_path_factory.mktemp("gguf")
    plugins.build(Quantizer, {"name": "gguf", "type": "f32"}).quantize(NANO, out)
    with (
        plugins.build(Engine, "transformers").open(NANO) as reference,
        plugins.build(Engine, "llamacpp").open(out) as fast,
    ):
        yield {"transformers": reference, "llamacpp": fast}


def how(sampler="greedy", most=40, seed=9, stops=()) -> Generation:
    return Generation(plugins.build(Sampler, sampler), most, [seed], stops)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("name", ["transformers", "llamacpp"])
def test_a_stream_has_the_tokens_of_generate(opened, name, sampler):
    whole = opened[name].generate([PROMPT], how(sampler))[0]
    assert [token.id for token in opened[name].stream(PROMPT, how(sampler))] == whole.ids


@pytest.mark.parametrize("name", ["transformers", "llamacpp"])
def test_a_stream_ends_with_the_stop_token(opened, name):
    ids = opened[name].generate([PROMPT], how())[0].ids
    stopped = [token.id for token in opened[name].stream(PROMPT, how(stops=(ids[5],)))]
    assert stopped == ids[: ids.index(ids[5]) + 1]


@pytest.mark.parametrize("name", ["transformers", "llamacpp"])
def test_probabilities_are_the_models_whatever_the_sampler(opened, name):
    tokens = list(opened[name].stream(PROMPT, how({"name": "top_k", "k": 3}), 4))
    text = PROMPT + [token.id for token in tokens]
    scored = score_logprobs(load_model(NANO), [text], [len(PROMPT)])[0].per_token
    assert [token.logprob for token in tokens] == pytest.approx(scored, abs=1e-3)
    assert all(len(token.top) == 4 for token in tokens)
    assert all(token.id in dict(token.top) for token in tokens)


def test_nobody_who_did_not_ask_pays_for_probabilities(opened):
    assert {token.logprob for token in opened["transformers"].stream(PROMPT, how())} == {None}


def test_leaving_a_stream_early_ends_the_work_and_the_next_request_is_answered(opened):
    for engine in opened.values():
        tokens = engine.stream(PROMPT, how("random", most=800))
        first = [next(tokens).id for _ in range(3)]
        tokens.close()
        assert [t.id for t in engine.stream(PROMPT, how("random", most=3))][:3] == first


def test_a_sampler_that_searches_has_no_stream(opened):
    with pytest.raises(ModelError, match="chooses among whole answers"):
        opened["transformers"].stream(PROMPT, how("beam"))


def letters(opened, text: str, seed: int = 1) -> tuple[list[int], list]:
    """Let llama.cpp write a text, by a grammar; return the whole answer's ids and the stream."""
    fast = opened["llamacpp"]
    wanted = how("random", seed=seed)
    options = {**llamacpp._options(wanted, 512), "grammar": f'root ::= "{text}"'}
    whole = fast.connection.complete({**options, "prompt": PROMPT, "seed": seed, "n_predict": 40})[
        0
    ]["tokens"]
    folder = Path(fast.folder)
    stream = Stream(fast, fast.connection, folder, options, how("random", seed=seed, stops=(1,)), 2)
    return whole, list(stream.tokens(PROMPT))


@pytest.mark.parametrize("text", ["a€b", "日本", "né 🤖!"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_token_of_a_letter_is_lost_on_the_way(opened, text, seed):
    whole, tokens = letters(opened, text, seed)
    assert [token.id for token in tokens] == whole
    scored = score_logprobs(load_model(NANO), [PROMPT + whole], [len(PROMPT)])[0].per_token
    assert [token.logprob for token in tokens] == pytest.approx(scored, abs=1e-2)


def test_where_the_bytes_could_be_several_tokens_the_whole_answer_is_asked_for(opened, monkeypatch):
    from tunesmith.generation.token_bytes import TokenBytes

    true = TokenBytes.spellings
    # As in a larger vocabulary, where a letter's bytes can be divided in several ways.
    monkeypatch.setattr(
        TokenBytes, "spellings", lambda self, text, n: [[0] * n, *true(self, text, n)]
    )
    whole, tokens = letters(opened, "x日y")
    assert [token.id for token in tokens] == whole


def test_a_chain_draws_as_its_parts_do_one_after_the_other(opened):
    import torch

    chain = sampler_of(2.0, 0.8, 50, 0.02)
    logits = torch.randn(3, 200, generator=torch.Generator().manual_seed(0)) * 4
    expected = logits / 2.0
    for spec in (
        {"name": "top_k", "k": 50}, {"name": "top_p", "p": 0.8}, {"name": "min_p", "p": 0.02},
    ):  # fmt: skip
        expected = plugins.build(Sampler, spec)(expected)
    assert torch.equal(chain(logits), expected)
    said = chain.engine_options("llamacpp")
    assert said["samplers"] == ["temperature", "top_k", "top_p", "min_p"]
    assert (said["temperature"], said["top_k"], said["top_p"], said["min_p"]) == (
        2.0,
        50,
        0.8,
        0.02,
    )


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ((None, None, None, None), "temperature"), ((0, 0.5, 3, 0.1), "greedy"),
        ((1, 1, 0, 0), "temperature"), ((0.7, 0.9, 0, 0), "top_p"), ((0.7, 1, 5, 0), "top_k"),
        ((0.7, None, None, 0.1), "min_p"), ((0.7, 0.9, 5, None), "chain"),
    ],
)  # fmt: skip
def test_openais_parameters_become_the_sampler_they_mean(given, name):
    assert sampler_of(*given).name == name
