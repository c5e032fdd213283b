"""What cannot be answered is refused with the right status, in the shape that clients read."""

from __future__ import annotations

import pytest

TALK = [{"role": "user", "content": "hi"}]
GOOD = {"model": "nano", "messages": TALK, "max_tokens": 2}


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"model": "nanno"}, 404, "Did you mean 'nano'"),
        ({"model": None}, 400, "model: Field required"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "content"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": float("1e9")}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"n": 0}, 400, "n:"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 100_000}, 400, "holds 1024 tokens"),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "Shorten the prompt"),
        ({"top_logprobs": 2}, 400, "needs logprobs: true"),
        ({"presence_penalty": 1}, 400, "presence_penalty is not supported"),
        ({"tools": [{"type": "function"}]}, 400, "tools is not supported"),
        ({"temprature": 1}, 400, "temprature: this parameter is not supported"),
        ({"sampler": "min_pp"}, 400, "Did you mean 'min_p'"),
        ({"sampler": "greedy", "temperature": 1}, 400, "not both"),
        ({"style": "zero_shoot"}, 400, "Did you mean 'zero_shot'"),
        ({"style": {"name": "few_shot", "shots": 2}}, 400, "needs 2 solved rows"),
        ({"style": {"name": "saved", "prompt": "nobody@1"}}, 400, "No prompt is saved"),
        ({"model": "nano-q8", "sampler": "beam"}, 400, "cannot express"),
    ],
)
def test_a_wrong_request_is_refused(server, change, status, says):
    body = {key: value for key, value in (GOOD | change).items() if value is not None}
    answer = server.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, says in error["message"]) == (status, True), error
    assert set(error) == {"message", "type", "param", "code"}


def test_the_same_refusals_come_before_a_stream_begins(server):
    body = GOOD | {"stream": True, "max_tokens": 100_000}
    answer = server.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(server, body):
    answer = server.post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_a_body_that_a_foreign_page_could_send_is_refused(server):
    answer = server.post(
        "/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 415


def test_a_name_that_is_not_this_machines_is_refused(server):
    assert server.get("/v1/models", headers={"host": "evil.example"}).status_code == 400


def test_a_body_without_end_is_refused(server):
    answer = server.post(
        "/v1/completions",
        content=b'{"model": "nano", "prompt": "' + b"x" * 5_000_000 + b'"}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 413


def test_token_ids_of_another_tokenizer_are_refused(server):
    body = {"model": "nano", "prompt": [10**6], "max_tokens": 2}
    answer = server.post("/v1/completions", json=body)
    assert answer.status_code == 400 and "another model's tokenizer" in answer.text


def test_a_path_that_is_not_there_is_told_in_the_same_shape(server):
    assert server.get("/v1/nothing").json()["error"]["type"] == "invalid_request_error"
    assert server.get("/v1/chat/completions").status_code == 405


def test_the_models_are_listed_with_their_engines(server):
    found = server.get("/v1/models").json()["data"]
    assert [(one["id"], one["tunesmith"]["engine"]["name"]) for one in found] == [
        ("nano", "transformers"), ("nano-q8", "llamacpp"),
    ]  # fmt: skip
    assert server.get("/v1/models/nano").json()["id"] == "nano"
    assert server.get("/v1/models/nobody").status_code == 404


def test_the_techniques_are_listed_with_their_options(server):
    found = server.get("/tunesmith/v1/techniques").json()
    styles = {one["name"]: one for one in found["styles"]}
    assert "shots" in styles["few_shot"]["options"]
    assert "min_p" in {one["name"] for one in found["samplers"]}
