"""The client of OpenAI-compatible servers: what it asks, how long it tries, what it says."""

import threading
import time

import pytest
from openai_servers import KEY_VARIABLE, as_gguf, chat, llama_server, models, ok, told_server
from pydantic import ValidationError
from tiny_models import tiny_model

from tunesmith.endpoints import Endpoint, read_key
from tunesmith.errors import EndpointError
from tunesmith.models import load_tokenizer
from tunesmith.openai_api import connected, question
from tunesmith.retrying import backoff, retry_after

SECRET = "sk-test-0123456789"
HELLO = question([{"role": "user", "content": "Hello"}], "m", max_tokens=3)


def asking(url, **options):
    return Endpoint(base_url=url, **options)


def chatted(endpoint, requests=(HELLO,), slept=None):
    with connected(endpoint) as client:
        client.sleep = (slept if slept is not None else []).append
        return client.chat(requests)


def failing(times, failure):
    """Return an answerer that fails some times before it answers."""
    left = iter([failure] * times)
    return lambda *_: next(left, chat("hello"))


def test_a_busy_server_is_waited_for_as_long_as_it_asks():
    busy = (429, {"Retry-After": "7"}, b'{"error": {"message": "slow down"}}')
    slept = []
    with told_server(failing(2, busy)) as (url, seen):
        ((said,),) = chatted(asking(url), slept=slept)
    assert said.text == "hello" and slept == [7.0, 7.0] and len(seen) == 3


def test_pauses_double_where_the_server_says_nothing():
    slept = []
    with told_server(failing(4, (503, {}, b"overloaded"))) as (url, _):
        chatted(asking(url), slept=slept)
    assert all(0.25 * 2**at <= pause <= 0.5 * 2**at for at, pause in enumerate(slept))
    assert len(slept) == 4 and backoff(30) <= 60


def test_a_wait_that_is_too_long_is_an_error_at_once():
    with told_server(failing(9, (429, {"Retry-After": "3600"}, b"quota"))) as (url, seen):
        with pytest.raises(EndpointError, match="asks to wait 3600 s"):
            chatted(asking(url))
        assert len(seen) == 1


def test_a_date_may_say_how_long_to_wait():
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("soon") is None and retry_after(None) is None
    assert retry_after("0.5") == 0.5 and retry_after("-3") == 0.0


def test_retries_end_with_what_the_server_said():
    with told_server(failing(9, (500, {}, b'{"detail": "CUDA out of memory"}'))) as (url, seen):
        with pytest.raises(EndpointError) as caught:
            chatted(asking(url, retries=2))
        assert len(seen) == 3
    said = str(caught.value)
    assert f"POST {url}/chat/completions answered 500: CUDA out of memory." in said
    assert "look into its log" in said and "asked 3 times" in said


def test_a_dropped_connection_is_tried_again():
    with told_server(failing(1, None)) as (url, seen):
        chatted(asking(url))
        assert len(seen) == 2
    with told_server(failing(9, None)) as (url, _), pytest.raises(EndpointError, match="dropped"):
        chatted(asking(url, retries=1))


def test_a_server_that_hangs_is_named_with_the_limit():
    gone = threading.Event()

    def hang(*_):
        gone.wait(20)
        return chat("late")

    with told_server(hang) as (url, _):
        began = time.monotonic()
        with pytest.raises(EndpointError, match=r"did not answer within 0\.2 s"):
            chatted(asking(url, timeout=0.2, retries=1))
        gone.set()
        assert time.monotonic() - began < 10


def test_nobody_there_is_said_with_what_to_do():
    with told_server(failing(0, None)) as (url, _):
        pass
    with pytest.raises(EndpointError, match=r"nobody answers there.*Start the server"):
        chatted(asking(url, retries=0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>welcome</html>", "no JSON object but '<html>welcome</html>.'"),
        (b'{"choices": []}', "no 1 `choices`"),
        (b'{"choices": [{"index": 0}]}', "a choice without a `message`"),
        (b"[1, 2]", "no JSON object"),
    ],
)
def test_an_answer_of_another_shape_is_shown(content, said):
    with told_server(lambda *_: (200, {}, content)) as (url, seen):
        with pytest.raises(EndpointError) as caught:
            chatted(asking(url))
        assert said in str(caught.value) and "/v1" in str(caught.value) and len(seen) == 1


def test_a_wrong_model_is_an_error_that_lists_the_right_ones():
    with (
        told_server(lambda *_: models("qwen-8b", "llama-3")) as (url, _),
        connected(asking(url)) as client,
        pytest.raises(EndpointError, match=r"Did you mean 'qwen-8b'.*It serves: qwen-8b, llama"),
    ):
        client.require_model("qwen-8")


def test_a_refusal_is_not_repeated():
    with told_server(failing(9, (400, {}, b'{"error": "no such field"}'))) as (url, seen):
        with pytest.raises(EndpointError, match=r"400: no such field\."):
            chatted(asking(url))
        assert len(seen) == 1


def test_no_more_is_asked_at_once_than_allowed_and_order_is_kept():
    lock, now, most = threading.Lock(), [0], [0]

    def slow(_method, _path, body, _headers):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return chat(body["messages"][0]["content"])

    requests = [question([{"role": "user", "content": str(n)}], "m") for n in range(12)]
    with told_server(slow) as (url, _):
        said = chatted(asking(url, concurrency=3), requests)
    assert [one.text for (one,) in said] == [str(n) for n in range(12)]
    assert 1 < most[0] <= 3


def test_after_a_failure_nothing_more_is_asked():
    with told_server(lambda *_: (400, {}, b"no")) as (url, seen):
        with pytest.raises(EndpointError):
            chatted(asking(url, concurrency=1), [HELLO] * 50)
        assert len(seen) < 5


# The key


def test_the_key_goes_to_the_server_and_into_no_message(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    refused = (401, {}, f'{{"error": {{"message": "bad key {SECRET}"}}}}'.encode())
    with told_server(lambda *_: refused) as (url, seen):
        endpoint = asking(url, api_key_env=KEY_VARIABLE)
        with pytest.raises(EndpointError, match="bad key") as caught:
            chatted(endpoint)
        assert seen[0]["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in str(caught.value) and f"${KEY_VARIABLE}" in str(caught.value)
    assert SECRET not in repr(endpoint) + endpoint.model_dump_json()
    with connected(endpoint) as client:
        assert SECRET not in repr(client)


def test_a_missing_key_names_its_variable(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(EndpointError, match=f"variable {KEY_VARIABLE}.*is not set"):
        read_key(KEY_VARIABLE)


def test_a_key_that_no_header_may_hold_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, f"{SECRET}\nX: é")
    with pytest.raises(EndpointError, match="no header may have") as caught:
        read_key(KEY_VARIABLE)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key_env": "sk-live-987654"},
        {"base_url": "http://me:sk-live-987654@host/v1"},
        {"base_url": "http://host/v1?key=sk-live-987654"},
    ],
)
def test_a_key_in_the_config_is_refused_and_not_shown(options):
    with pytest.raises(ValidationError) as caught:
        Endpoint(**options)
    assert "sk-live-987654" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host/v1", "http://host/v1/", "http://host:one/v1"]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValidationError, match="base_url must"):
        Endpoint(base_url=url)


def test_preflight_says_what_is_wrong_with_a_server(monkeypatch):
    class Asking(Endpoint):
        def asked_model(self):
            return "judge"

    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with told_server(lambda *_: models("judge")) as (url, _):
        assert Asking(base_url=url).endpoint_problems() == []
        (said,) = Asking(base_url=url, api_key_env=KEY_VARIABLE).endpoint_problems()
        assert "is not set" in said
    with told_server(lambda *_: (401, {}, b"")) as (url, seen):
        (said,) = Asking(base_url=url).endpoint_problems()
        assert "It wants a key" in said and "api_key_env" in said and len(seen) == 1
    with told_server(lambda *_: models("other")) as (url, _):
        (said,) = Asking(base_url=url).endpoint_problems()
        assert "serves no model 'judge'" in said and "other" in said
    (said,) = Asking(base_url=url).endpoint_problems()
    assert "nobody answers there" in said


# A real server


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = as_gguf(tiny_model(), tmp_path_factory.mktemp("tiny"))
    with llama_server(folder, context=128) as server:
        yield server


def test_a_real_server_takes_token_ids_and_gives_probabilities(llama, monkeypatch):
    url, model, key = llama
    monkeypatch.setenv(KEY_VARIABLE, key)
    endpoint = asking(url, api_key_env=KEY_VARIABLE)
    tokenizer = load_tokenizer(tiny_model())
    prompt = tokenizer("Mia found 3 kites")["input_ids"]
    request = {"model": model, "prompt": prompt, "max_tokens": 4, "temperature": 0, "n": 1}
    with connected(endpoint) as client:
        assert client.require_model(model)["id"] == model
        first, again = client.complete([request, request])
        assert first["choices"] == again["choices"]
        sampled = {**request, "temperature": 1.0, "n": 3, "seed": 5}
        (three,) = client.complete([sampled])
        assert [one["index"] for one in three["choices"]] == [0, 1, 2]
        ((said,),) = client.chat([{**HELLO, "logprobs": True, "top_logprobs": 5}])
    assert len(said.written) == len(said.likely) > 0
    assert said.written[0] in said.likely[0] and all(v <= 0 for v in said.likely[0].values())


def test_a_real_server_refuses_a_wrong_key_without_a_retry(llama, monkeypatch):
    url, model, _ = llama
    monkeypatch.setenv(KEY_VARIABLE, "wrong")
    with (
        connected(asking(url, api_key_env=KEY_VARIABLE)) as client,
        pytest.raises(EndpointError, match=f"401.*does not accept the key in .{KEY_VARIABLE}"),
    ):
        client.complete([{"model": model, "prompt": [1], "max_tokens": 1}])


def test_models_are_cards_with_a_name():
    with (
        told_server(lambda *_: ok({"data": "none"})) as (url, _),
        connected(asking(url)) as client,
        pytest.raises(EndpointError, match="no list of models"),
    ):
        client.models()
