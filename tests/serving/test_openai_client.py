"""OpenAI's own client as the judge of compatibility."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest

TALK = [{"role": "user", "content": "Tell a story about a cat."}]


@pytest.fixture
def client(server: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="any", max_retries=0) as found:
        yield found


def test_a_chat_with_probabilities_and_counts(client):
    answer = client.chat.completions.create(
        model="nano", messages=TALK, temperature=0, max_completion_tokens=9, logprobs=True,
        top_logprobs=2,
    )  # fmt: skip
    choice = answer.choices[0]
    assert choice.finish_reason == "length"
    assert answer.usage.completion_tokens == 9 == len(choice.logprobs.content)
    assert "".join(one.token for one in choice.logprobs.content) == choice.message.content


def test_a_stream_joins_to_the_whole_answer(client):
    how = {"model": "nano", "messages": TALK, "seed": 5, "max_tokens": 40, "n": 2}
    whole = client.chat.completions.create(**how)
    said, usage = {0: "", 1: ""}, None
    for chunk in client.chat.completions.create(
        **how, stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert said == {one.index: one.message.content for one in whole.choices}
    assert usage == whole.usage


def test_a_text_completion_of_token_ids(client):
    answer = client.completions.create(model="nano", prompt=[5, 6, 7], max_tokens=4, logprobs=1)
    assert len(answer.choices[0].logprobs.tokens) == 4


def test_models_are_listed(client):
    assert [one.id for one in client.models.list()] == ["nano", "nano-q8"]
    assert client.models.retrieve("nano").owned_by == "tunesmith"


def test_errors_become_the_clients_own(client):
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.chat.completions.create(model="gpt-9", messages=TALK)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="nano", messages=TALK, max_tokens=10**6)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.APIError, match="cannot express"):
        client.chat.completions.create(
            model="nano-q8", messages=TALK, stream=True, extra_body={"sampler": "beam"}
        )


def test_what_tunesmith_adds_goes_through_the_client(client):
    answer = client.chat.completions.create(
        model="nano", messages=TALK, max_tokens=8, extra_body={"sampler": {"name": "min_p"}}
    )
    assert answer.model_extra["tunesmith"]["choices"][0]["sampler"]["name"] == "min_p"
