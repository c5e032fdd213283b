"""What the server answers is what the engine says, in OpenAI's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tunesmith import Engine, Generation, Sampler, encode_prompt, load_tokenizer, plugins
from tunesmith.chat import stop_ids
from tunesmith.generation.scoring import score_logprobs
from tunesmith.models import load_model, resolve_model

TALK = [{"role": "user", "content": "What is 3 + 4?"}]
FRENCH = [{"role": "user", "content": "Translate to French: The girl sees a tree."}]
MODELS = ("nano", "nano-q8")
NANO = resolve_model("builtin:nano")


def chat(server: httpx.Client, model: str = "nano", **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": TALK, "temperature": 0, "max_tokens": 24, **more}
    answer = server.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(server: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    with server.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        found.append(json.loads(line.removeprefix("data: ")))
    return found


def said(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content", "")
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == index
    )


@pytest.fixture(scope="module")
def folders(q8: Path) -> dict[str, Path]:
    return {"nano": NANO, "nano-q8": q8}


def direct(folder: Path, how: dict[str, Any], talk: Any, seed: int = 0, most: int = 24) -> Any:
    """Ask the engine itself."""
    tokenizer = load_tokenizer(NANO)
    names = {name: plugins.build(Engine, name) for name in ("transformers", "llamacpp")}
    engine = next(one for one in names.values() if one.reads(folder))
    with engine.open(folder) as opened:
        wanted = Generation(plugins.build(Sampler, how), most, [seed], stop_ids(tokenizer, NANO))
        return opened.generate([encode_prompt(tokenizer, talk)], wanted)[0]


@pytest.mark.parametrize("model", MODELS)
def test_a_greedy_chat_is_the_engines_own_answer(server, folders, model):
    own = direct(folders[model], {"name": "greedy"}, TALK)
    answer = chat(server, model)
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": own.text, "refusal": None}
    assert choice["finish_reason"] == own.finish
    prompt = encode_prompt(load_tokenizer(NANO), TALK)
    assert answer["usage"] == {
        "prompt_tokens": len(prompt),
        "completion_tokens": len(own.ids),
        "total_tokens": len(prompt) + len(own.ids),
    }
    assert answer["model"] == model and answer["object"] == "chat.completion"


@pytest.mark.parametrize("model", MODELS)
def test_a_drawn_answer_is_the_engines_with_the_same_seed(server, folders, model):
    own = direct(folders[model], {"name": "top_p", "p": 0.9, "temperature": 1.5}, FRENCH, seed=11)
    drawn = {"temperature": 1.5, "top_p": 0.9, "seed": 11, "messages": FRENCH}
    assert chat(server, model, **drawn)["choices"][0]["message"]["content"] == own.text
    assert chat(server, model, **drawn)["choices"] == chat(server, model, **drawn)["choices"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(4))
def test_the_pieces_of_a_stream_join_to_the_whole_answer(server, model, seed):
    # So warm that bytes of several letters come, and some that are no letter at all.
    body = {
        "model": model, "messages": FRENCH, "temperature": 3.0, "seed": seed, "max_tokens": 80,
    }  # fmt: skip
    whole = server.post("/v1/chat/completions", json=body).json()
    chunks = events(server, "/v1/chat/completions", body)
    assert said(chunks) == whole["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert len(chunks) > 20
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_letters_of_several_tokens_are_never_cut_in_the_stream(server):
    tokenizer = load_tokenizer(NANO)
    spelt = tokenizer("日本€", add_special_tokens=False)["input_ids"]
    assert len(spelt) > 3
    # The model repeats what a text of nothing else leads to; each piece is whole letters.
    body = {"model": "nano", "prompt": spelt * 8, "max_tokens": 60, "temperature": 0.2, "seed": 3}
    whole = server.post("/v1/completions", json=body).json()["choices"][0]["text"]
    pieces = [one["choices"][0]["text"] for one in events(server, "/v1/completions", body)]
    assert "".join(pieces) == whole


@pytest.mark.parametrize("model", MODELS)
def test_logprobs_are_the_models_own(server, model):
    answer = chat(server, model, logprobs=True, top_logprobs=3)
    told = answer["choices"][0]["logprobs"]["content"]
    tokenizer = load_tokenizer(NANO)
    own = direct(NANO, {"name": "greedy"}, TALK)
    ids = [one for one in own.ids if one not in stop_ids(tokenizer, NANO)]
    prompt = encode_prompt(tokenizer, TALK)
    scored = score_logprobs(load_model(NANO), [prompt + ids], [len(prompt)])[0].per_token
    # Eight bits are another model; float32 is the reference itself.
    near = 1e-4 if model == "nano" else 0.25
    assert [one["logprob"] for one in told] == pytest.approx(scored, abs=near)
    for one in told:
        assert one["top_logprobs"][0]["token"] == one["token"]
        assert len(one["top_logprobs"]) == 3
        assert bytes(one["bytes"]).decode() == one["token"]
    assert "".join(one["token"] for one in told) == answer["choices"][0]["message"]["content"]


def test_streamed_logprobs_are_those_of_the_whole_answer(server):
    body = {
        "model": "nano", "messages": TALK, "temperature": 0, "max_tokens": 10,
        "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    whole = server.post("/v1/chat/completions", json=body).json()["choices"][0]["logprobs"]
    chunks = events(server, "/v1/chat/completions", body)
    told = [c["choices"][0].get("logprobs") for c in chunks if c["choices"]]
    assert [entry for one in told if one for entry in one["content"]] == whole["content"]


def test_an_answer_ends_before_a_stop_text_and_nothing_of_it_is_streamed(server):
    whole = chat(server)["choices"][0]["message"]["content"]
    stop = whole[4:8]
    body = {
        "model": "nano", "messages": TALK, "temperature": 0, "max_tokens": 24, "stop": [stop],
        "logprobs": True,
    }  # fmt: skip
    ended = server.post("/v1/chat/completions", json=body).json()["choices"][0]
    assert ended["message"]["content"] == whole[: whole.index(stop)]
    assert ended["finish_reason"] == "stop"
    assert said(events(server, "/v1/chat/completions", body)) == ended["message"]["content"]


def test_n_choices_differ_and_the_first_is_that_of_n_1(server):
    many = chat(server, n=3, temperature=2.0, seed=4)["choices"]
    assert [one["index"] for one in many] == [0, 1, 2]
    assert len({one["message"]["content"] for one in many}) == 3
    assert chat(server, temperature=2.0, seed=4)["choices"][0] == many[0]
    body = {"model": "nano", "messages": TALK, "temperature": 2.0, "seed": 4, "max_tokens": 24}
    chunks = events(server, "/v1/chat/completions", {**body, "n": 3})
    for one in many:
        assert said(chunks, one["index"]) == one["message"]["content"]


def test_usage_comes_last_in_a_stream_that_asks_for_it(server):
    body = {"model": "nano", "messages": TALK, "temperature": 0, "max_tokens": 5}
    asked = {**body, "stream_options": {"include_usage": True}}
    last = events(server, "/v1/chat/completions", asked)[-1]
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 5


def test_a_text_and_its_token_ids_are_continued_alike(server):
    ids = load_tokenizer(NANO)("The boy", add_special_tokens=False)["input_ids"]
    body = {"model": "nano", "temperature": 0, "max_tokens": 12, "logprobs": 2}
    by_ids = server.post("/v1/completions", json={**body, "prompt": ids}).json()
    by_text = server.post("/v1/completions", json={**body, "prompt": "The boy"}).json()
    assert by_ids["choices"] == by_text["choices"]
    told = by_ids["choices"][0]["logprobs"]
    assert "".join(told["tokens"]) == by_ids["choices"][0]["text"]
    assert told["text_offset"] == [
        len("".join(told["tokens"][:at])) for at in range(len(told["tokens"]))
    ]
    both = server.post("/v1/completions", json={**body, "prompt": [ids, ids]}).json()
    assert [one["text"] for one in both["choices"]] == [by_ids["choices"][0]["text"]] * 2


def test_several_parameters_draw_in_the_stated_order_on_both_engines(server):
    for model in MODELS:
        drawn = chat(server, model, temperature=2.0, top_k=1, top_p=0.9, min_p=0.01, seed=1)
        assert drawn["choices"][0]["message"] == chat(server, model)["choices"][0]["message"]


def test_any_sampler_can_be_named_and_one_that_searches_streams_its_answer_whole(server):
    body = {"model": "nano", "messages": TALK, "max_tokens": 8}
    beam = {**body, "sampler": {"name": "beam", "num_beams": 2}}
    whole = server.post("/v1/chat/completions", json=beam).json()
    assert (
        said(events(server, "/v1/chat/completions", beam))
        == (whole["choices"][0]["message"]["content"])
    )
    assert whole["tunesmith"]["choices"][0]["sampler"]["name"] == "beam"


def test_a_style_puts_the_last_turn_and_shows_the_given_examples(server):
    body = {
        "model": "nano", "messages": TALK, "style": {"name": "few_shot", "shots": 1},
        "shots": [{"question": "What is 1 + 1?", "answer": "2"}],
    }  # fmt: skip
    seen = server.post("/tunesmith/v1/prompt", json=body).json()
    assert [turn["content"] for turn in seen["messages"]] == [
        "What is 1 + 1?", "2", "What is 3 + 4?",
    ]  # fmt: skip
    assert seen["ids"] == encode_prompt(load_tokenizer(NANO), seen["messages"])
    styled = chat(server, style=body["style"], shots=body["shots"])
    plain = chat(server, messages=seen["messages"])
    assert styled["choices"][0]["message"] == plain["choices"][0]["message"]


def test_a_style_that_asks_twice_tells_what_it_asked(server):
    told = chat(server, style={"name": "step_back", "rule_tokens": 8})["tunesmith"]["choices"][0]
    assert told["calls"] == 2 and told["details"]["rule"]


def test_special_tokens_that_people_spell_stay_letters(server):
    seen = server.post(
        "/tunesmith/v1/prompt",
        json={"model": "nano", "messages": [{"role": "user", "content": "<|end|>"}]},
    ).json()
    ends = seen["ids"].count(load_tokenizer(NANO).eos_token_id)
    plain = encode_prompt(load_tokenizer(NANO), TALK)
    assert ends == plain.count(load_tokenizer(NANO).eos_token_id)
