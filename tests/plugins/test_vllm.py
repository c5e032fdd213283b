"""The engine `vllm`, against a real OpenAI-compatible server: llama.cpp's, which tells ids too."""

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from shutil import copytree

import pytest
import yaml
from openai_servers import KEY_VARIABLE, as_gguf, llama_server, models, ok, told_server
from tiny_models import tiny_model

from tunesmith import Engine, Generation, ModelError, Sampler
from tunesmith.chat import encode_prompt, stop_ids
from tunesmith.contracts import check
from tunesmith.errors import EndpointError
from tunesmith.models import load_tokenizer, resolve_model
from tunesmith.plugins import build
from tunesmith_plugins.engines.vllm import request_options, served_name, written_ids
from tunesmith_plugins.engines.vllm_launch import Launch, main

ROOT = Path(__file__).parents[2]
QUESTIONS = ("What is 3 plus 4?", "Write a story about a kite.", "Translate to French: the cat")


@pytest.fixture(scope="module")
def nano():
    return resolve_model("builtin:nano")


@pytest.fixture(scope="module")
def server(nano, tmp_path_factory):
    folder = as_gguf(nano, tmp_path_factory.mktemp("nano"))
    with llama_server(folder) as found:
        yield found


@pytest.fixture
def engine(server, monkeypatch):
    url, name, key = server
    monkeypatch.setenv(KEY_VARIABLE, key)
    return build(
        Engine,
        {"name": "vllm", "base_url": url, "served_model": name, "api_key_env": KEY_VARIABLE},
    )


@pytest.fixture(scope="module")
def prompts(nano):
    tokenizer = load_tokenizer(nano)
    return [encode_prompt(tokenizer, [{"role": "user", "content": one}]) for one in QUESTIONS]


def ask(folder, sampler="greedy", new=40, seeds=(1, 2, 3)):
    stops = stop_ids(load_tokenizer(folder), folder)
    return Generation(build(Sampler, sampler), new, list(seeds), stops)


def test_greedy_answers_are_the_reference_engines(engine, nano, prompts):
    with engine.open(nano) as opened:
        found = opened.generate(prompts, ask(nano, new=70))
        assert opened.how_ids == "verbose"  # the way of llama.cpp
    with build(Engine, "transformers").open(nano) as reference:
        assert found == reference.generate(prompts, ask(nano, new=70))
    assert "stop" in {one.finish for one in found}


def test_draws_hang_on_the_seed_of_their_row(engine, nano, prompts):
    how = ask(nano, {"name": "temperature", "temperature": 1.3}, seeds=[5, 6, 5])
    with engine.open(nano) as opened:
        first = opened.generate([prompts[0]] * 3, how)
        again = opened.generate([prompts[0]] * 3, how)
    assert first == again
    assert first[0] == first[2] != first[1]


def test_the_samplers_of_the_server_are_switched_off(engine, nano, prompts):
    """llama.cpp's own defaults are top_k 40, top_p 0.95 and min_p 0.05: with them a draw at a high
    temperature keeps to few tokens, without them it is spread over the whole vocabulary."""
    how = ask(nano, {"name": "temperature", "temperature": 50.0}, new=1, seeds=range(120))
    with engine.open(nano) as opened:
        flat = {one.ids[0] for one in opened.generate([prompts[0]] * 120, how)}
        top = ask(nano, {"name": "top_k", "k": 3, "temperature": 50.0}, new=1, seeds=range(120))
        few = {one.ids[0] for one in opened.generate([prompts[0]] * 120, top)}
    assert len(flat) > 100 and len(few) == 3


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ("greedy", {"temperature": 0.0}),
        ("random", {"temperature": 1.0}),
        ({"name": "min_p", "p": 0.1, "temperature": 0.7}, {"temperature": 0.7, "min_p": 0.1}),
        ({"name": "top_p", "p": 0.8}, {"temperature": 1.0, "top_p": 0.8}),
        ({"name": "top_k", "k": 7}, {"temperature": 1.0, "top_k": 7}),
        (
            {"name": "repetition_penalty", "penalty": 1.3, "sampler": "greedy"},
            {"temperature": 0.0, "repetition_penalty": 1.3},
        ),
    ],
)
def test_a_sampler_is_said_and_everything_else_is_off(nano, sampler, said):
    options = request_options(ask(nano, sampler))
    neutral = {"temperature": 1.0, "top_k": -1, "top_p": 1.0, "min_p": 0.0,
               "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
               "min_tokens": 0, "ignore_eos": False}  # fmt: skip
    assert {key: options[key] for key in neutral} == {**neutral, **said}
    assert options["stop_token_ids"] == list(ask(nano).stop_ids)


@pytest.mark.parametrize(
    "sampler",
    [
        "typical", "beam", "best_of_n",
        {"name": "repetition_penalty", "sampler": "typical"},
        {"name": "repetition_penalty", "sampler": {"name": "repetition_penalty"}},
    ],
)  # fmt: skip
def test_a_sampler_that_vllm_cannot_say_is_refused(nano, sampler):
    with pytest.raises(ModelError, match="vLLM cannot express the sampler"):
        request_options(ask(nano, sampler))


def test_the_name_of_a_model_is_made_from_its_weights(engine, nano):
    with (
        told_server(lambda *_: models("some-model")) as (url, _),
        pytest.raises(ModelError, match=r"serves no model 'tunesmith-[0-9a-f]{16}'.*vllm_launch"),
        build(Engine, {"name": "vllm", "base_url": url}).open(nano),
    ):
        pass
    assert served_name(nano) != served_name(tiny_model())


# What vLLM answers, as its documentation shows it


def vllm_like(written, **shape):
    """Return an answerer that writes fixed tokens in one of vLLM's shapes."""

    def answer(_method, path, body, _headers):
        if path.endswith("/models"):
            return models("m")
        ids = next(written)[: body["max_tokens"]]
        choice = {"index": 0, "text": "x", "finish_reason": shape.get("finish", "length")}
        if body.get("return_token_ids") and shape.get("lists"):
            choice["token_ids"] = ids
        if body.get("return_tokens_as_token_ids") and shape.get("names"):
            choice["logprobs"] = {"tokens": [f"token_id:{one}" for one in ids]}
        return ok({"choices": [choice]})

    return answer


@pytest.mark.parametrize("way", ["lists", "names"])
def test_ids_are_read_in_both_of_vllms_ways(nano, way):
    written = iter([[9], [30, 31, 32, 33]] if way == "lists" else [[9], [9], [30, 31, 32, 33]])
    with told_server(vllm_like(written, **{way: True})) as (url, seen):
        engine = build(Engine, {"name": "vllm", "base_url": url, "served_model": "m"})
        with engine.open(nano) as opened:
            (found,) = opened.generate([[5, 6]], ask(nano, new=4, seeds=[3]))
    assert found.ids == [30, 31, 32, 33] and found.finish == "length"
    body = seen[-1]["body"]
    assert body["prompt"] == [5, 6] and body["seed"] == 3 and body["max_tokens"] == 4
    assert ("logprobs" in body) == (way == "names")


def test_a_stop_that_is_not_ours_ends_no_answer(nano):
    """vLLM stops at every end of turn of the model's config; the row goes on where we do not."""
    (stop,) = stop_ids(load_tokenizer(nano), nano)
    written = iter([[9], [30, 7], [40, stop]])
    with told_server(vllm_like(written, lists=True, finish="stop")) as (url, seen):
        engine = build(Engine, {"name": "vllm", "base_url": url, "served_model": "m"})
        with engine.open(nano) as opened:
            (found,) = opened.generate([[5, 6]], ask(nano, new=9, seeds=[3]))
    assert found.ids == [30, 7, 40, stop] and found.finish == "stop"
    assert seen[-1]["body"]["prompt"] == [5, 6, 30, 7] and seen[-1]["body"]["seed"] == 5


def test_a_server_that_tells_no_ids_is_refused_unless_asked_otherwise(nano):
    tokenizer = load_tokenizer(nano)
    ids = tokenizer.encode("the cat", add_special_tokens=False)

    def text_only(_method, path, body, _headers):
        said = {"index": 0, "text": "the cat", "finish_reason": "stop"}
        return models("m") if path.endswith("/models") else ok({"choices": [said]})

    with told_server(text_only) as (url, _):
        spec = {"name": "vllm", "base_url": url, "served_model": "m"}
        with (
            pytest.raises(ModelError, match=r"text only.*token_ids: reencode"),
            build(Engine, spec).open(nano),
        ):
            pass
        with build(Engine, {**spec, "token_ids": "reencode"}).open(nano) as opened:
            (found,) = opened.generate([[5, 6]], ask(nano, seeds=[3]))
    assert found.ids == [*ids, *ask(nano).stop_ids] and found.text == "the cat"


def test_other_names_of_tokens_are_no_ids():
    assert written_ids({"choices": [{"logprobs": {"tokens": ["the", " cat"]}}]}) is None
    assert written_ids({"choices": [{"logprobs": None}]}) is None


def test_tokens_that_are_not_told_are_missed(nano):
    def forgetful(_method, path, _body, _headers):
        if path.endswith("/models"):
            return models("m")
        choice = {"index": 0, "token_ids": [5], "finish_reason": "length"}
        return ok({"choices": [choice], "usage": {"completion_tokens": 2}})

    with told_server(forgetful) as (url, _):
        engine = build(Engine, {"name": "vllm", "base_url": url, "served_model": "m"})
        with (
            engine.open(nano) as opened,
            pytest.raises(ModelError, match="wrote 2 tokens"),
        ):
            opened.generate([[5, 6]], ask(nano, new=2, seeds=[3]))


def test_a_sequence_longer_than_the_server_holds_is_refused(nano):
    def answer(_method, path, body, _headers):
        if path.endswith("/models"):
            return ok({"data": [{"id": "m", "max_model_len": 16}]})
        return ok({"choices": [{"index": 0, "token_ids": [1], "finish_reason": "length"}]})

    with told_server(answer) as (url, _):
        engine = build(Engine, {"name": "vllm", "base_url": url, "served_model": "m"})
        with engine.open(nano) as opened, pytest.raises(ModelError, match="16"):
            opened.generate([[5] * 10], ask(nano, new=10, seeds=[3]))


def test_it_keeps_every_contract_of_an_engine(tmp_path, monkeypatch):
    folder = as_gguf(tiny_model(), tmp_path / "gguf")
    with llama_server(folder, context=128) as (url, name, key):
        monkeypatch.setenv(KEY_VARIABLE, key)
        options = {"base_url": url, "served_model": name, "api_key_env": KEY_VARIABLE}
        report = check("engine.vllm", {"vllm": options})
    assert {one.outcome for one in report.results} == {"kept"}, report.results


def test_without_a_server_its_contracts_are_not_tried(monkeypatch):
    with told_server(lambda *_: models()) as (url, _):
        pass  # gone again: nobody listens there
    report = check("engine.vllm", {"vllm": {"base_url": url}})
    outcomes = {one.contract: one.outcome for one in report.results}
    assert "broken" not in outcomes.values()
    assert outcomes["answers_prompts"] == "skipped" and outcomes["can_be_built"] == "kept"


# How it is launched


def test_the_command_serves_the_folder_under_its_name(nano, capsys):
    assert main([str(nano), "--port", "9000", "--lookup", "4"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == ["vllm", "serve", str(nano)]
    flags = dict(pairwise(words))
    assert flags["--served-model-name"] == served_name(nano)
    assert flags["--generation-config"] == "vllm" and flags["--port"] == "9000"
    assert int(flags["--max-model-len"]) == 1024 and "--enable-prefix-caching" in words
    assert json.loads(flags["--speculative-config"]) == {
        "method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 3,
        "prompt_lookup_max": 5,
    }  # fmt: skip


def test_a_draft_model_guesses_where_it_has_the_same_tokenizer(nano, tmp_path):
    draft = copytree(nano, tmp_path / "draft")
    arguments = Launch(nano, draft=draft).arguments()
    config = json.loads(arguments[arguments.index("--speculative-config") + 1])
    assert config["model"] == str(draft) and config["method"] == "draft_model"
    with pytest.raises(ModelError, match="tokenizer"):
        Launch(nano, draft=tiny_model()).arguments()
    with pytest.raises(ModelError, match="not both"):
        Launch(nano, draft=draft, lookup=3).arguments()


def test_a_folder_that_cannot_be_served_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "config.json" in capsys.readouterr().err


def test_compose_serves_what_the_command_serves(nano):
    variables = dict(
        line.split("=", 1) for line in Launch(nano, lookup=4).environment().split("\n")
    )
    service = yaml.safe_load((ROOT / "deploy/vllm/compose.yaml").read_text())["services"]["vllm"]

    def filled(text):
        return re.sub(
            r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda m: variables.get(m[1], m[2] or ""), text
        )

    words = shlex.split(filled(service["command"]))
    expected = Launch(nano, lookup=4).arguments()
    for flag in expected[expected.index("--generation-config") :]:
        assert flag in words
    assert words[words.index("--served-model-name") + 1] == served_name(nano)
    assert filled(service["volumes"][0]) == f"{nano}:/model:ro"
    with pytest.raises(ModelError, match="mounts one folder"):
        Launch(nano, draft=tiny_model()).environment()


def test_a_server_that_fails_names_itself(engine, nano):
    elsewhere = engine.model_copy(update={"base_url": "http://127.0.0.1:9/v1", "retries": 0})
    with pytest.raises(EndpointError, match="nobody answers there"), elsewhere.open(nano):
        pass
