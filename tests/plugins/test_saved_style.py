"""The style `saved`: what it puts to the model is what was saved, and nothing else."""

from __future__ import annotations

from tunesmith import Completion, PromptStyle, Sampler, plugins
from tunesmith.prompts import Conversation, label

SHOTS = [{"question": "2 + 2", "answer": "4"}, {"question": "3 + 3", "answer": "6"}]
ROW = {
    "id": "r",
    "prompt": [
        {"role": "system", "content": "Own."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "1 + 1"},
    ],
}


def saved(**options) -> PromptStyle:
    return plugins.build(PromptStyle, {"name": "saved", **options})


def put(style: PromptStyle, row=ROW) -> list[tuple[str, str]]:
    turns = style.messages(Conversation(), row, ())
    return [(turn["role"], turn["content"]) for turn in turns]


def test_without_options_the_row_is_asked_as_it_is():
    assert put(saved()) == [(turn["role"], turn["content"]) for turn in ROW["prompt"]]


def test_its_system_turn_takes_the_place_of_the_rows():
    assert put(saved(system="Be brief."))[:2] == [("system", "Be brief."), ("user", "Hello")]


def test_the_template_holds_the_last_question_even_with_braces_in_it():
    row = {"id": "r", "prompt": [{"role": "user", "content": "{question} {0}"}]}
    assert put(saved(template="Q: {question}!"), row) == [("user", "Q: {question} {0}!")]


def test_its_examples_are_shown_in_the_same_template():
    style = saved(template="Q: {question}", style={"name": "few_shot", "shots": 2}, shots=SHOTS)
    row = {"id": "r", "prompt": [{"role": "user", "content": "1 + 1"}]}
    assert put(style, row) == [
        ("user", "Q: 2 + 2"), ("assistant", "4"), ("user", "Q: 3 + 3"), ("assistant", "6"),
        ("user", "Q: 1 + 1"),
    ]  # fmt: skip


def test_its_sampler_draws_whatever_the_evaluation_says():
    drawn: list[Sampler | None] = []

    def ask(conversations, sampler=None, n=1, max_new_tokens=None):
        drawn.append(sampler)
        return [[Completion([1], "4", "stop")] * n for _ in conversations]

    for options in ({}, {"sampler": {"name": "top_p", "p": 0.5}}):
        saved(**options).answers(Conversation(), [ROW], (), ask)
    assert drawn[0] is None
    assert (drawn[1].name, drawn[1].p) == ("top_p", 0.5)


def test_it_asks_as_often_as_its_style():
    assert saved().asks_once
    assert not saved(style="step_back").asks_once


def test_evidence_calls_it_by_its_version_alone():
    assert label(saved(prompt="short@3", system="Be brief.")) == "saved(prompt=short@3)"
    assert "system" in label(saved(system="Be brief."))


def test_one_that_was_not_looked_up_is_refused():
    assert "was not looked up" in saved(prompt="short@production").problems()[0]
    assert saved(prompt="short@3").problems() == []
