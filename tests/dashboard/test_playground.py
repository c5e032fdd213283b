"""The playground: what is asked, what is shown of the answers, what can be taken away from it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml
from serving_process import serving, wait_until_ready
from streamlit.testing.v1 import AppTest

import tunesmith_dashboard
from tunesmith.config import check_config
from tunesmith.errors import TunesmithError
from tunesmith.store import saved_prompts
from tunesmith_dashboard import asking, playground_views
from tunesmith_dashboard.asking import Piece, Round, Said, Served, Way

APP = Path(tunesmith_dashboard.__file__).with_name("app.py")
HOSTILE = "<img src=x onerror='window.hacked=1'><a href='javascript:x'>![p](http://evil.example/p)"
STYLES = [
    {"name": "zero_shot", "options": {}},
    {"name": "few_shot", "options": {"shots": {}}},
    {"name": "self_consistency", "options": {"style": {}}},
]
OFFER = Served("http://127.0.0.1:1", [{"id": "nano"}], {"styles": STYLES, "samplers": []})
SHOTS = [{"question": "1 + 1", "answer": "2"}, {"question": "2 + 2", "answer": "4"}]
NOTHING = {"system": "", "template": "{question}", "shots": []}
TALK = "Tell a story about a cat."

pytestmark = pytest.mark.timeout(300)


def ways(styles: list[str], samplers: tuple[str, ...] = ("greedy",), **prompt) -> list[Way]:
    return playground_views.ways(OFFER, ["nano"], styles, samplers, NOTHING | prompt)


def test_every_combination_is_a_column():
    found = ways(["zero_shot", "{name: few_shot, shots: 2}"], ("greedy", "{name: min_p, p: 0.1}"))
    assert [(way.style["name"], way.sampler) for way in found] == [
        ("zero_shot", {"name": "greedy"}),
        ("zero_shot", {"name": "min_p", "p": 0.1}),
        ("few_shot", {"name": "greedy"}),
        ("few_shot", {"name": "min_p", "p": 0.1}),
    ]
    assert len({way.key for way in found}) == 4


def test_examples_go_to_the_styles_that_show_some():
    zero, few, votes = ways(
        ["zero_shot", "few_shot", "{name: self_consistency, style: few_shot}"], shots=SHOTS
    )
    assert zero.style == {"name": "zero_shot"}
    assert few.style["shots"] == SHOTS and few.style["style"] == {"name": "few_shot", "shots": 2}
    assert votes.style["shots"] == SHOTS


def test_a_style_that_would_show_nothing_is_named_beforehand():
    saved = {"name": "saved", "options": {"shots": {}, "style": {}}}
    offer = replace(OFFER, techniques=OFFER.techniques | {"styles": [*STYLES, saved]})
    styles = ["zero_shot", "few_shot", "{name: self_consistency, style: few_shot}"]
    styles.append("{name: saved, prompt: a@1}")
    assert playground_views.wants_examples(offer, styles, NOTHING) == styles[1:3]
    assert playground_views.wants_examples(offer, styles, {"shots": SHOTS}) == []


@pytest.mark.parametrize("typed", ["[1]", "{n: 1}", "{name: [", ""])
def test_what_is_no_technique_is_refused_in_words(typed):
    with pytest.raises(TunesmithError):
        ways([typed])


def test_the_snippet_is_the_part_of_a_lifecycle_that_asks_the_same():
    way = ways(["few_shot"], ("{name: top_p, p: 0.9}",), shots=SHOTS, system="Be brief.")[0]
    part = yaml.safe_load(playground_views.snippet(way, "maths_reasoning"))
    config = check_config({"name": "a", **part})
    assert config.evaluate.sampler == way.sampler
    assert config.evaluate.tasks == [{"name": "maths_reasoning", "style": way.style}]


def test_a_column_is_saved_as_it_was_asked(store):
    way = ways(["few_shot"], ("{name: top_p, p: 0.9}",), shots=SHOTS, system="Be brief.")[0]
    kept = playground_views.content(way, lambda: store)
    assert (kept["system"], kept["shots"], kept["sampler"]) == ("Be brief.", SHOTS, way.sampler)


def test_a_column_that_asks_with_a_saved_prompt_is_saved_as_what_that_says(store):
    first = playground_views.content(ways(["zero_shot"], system="Be kind.")[0], lambda: store)
    ref = saved_prompts.save(store, "kind", first, author="ann").ref
    (way,) = ways([f"{{name: saved, prompt: {ref}}}"], ("random",), system="Ignored.")
    assert playground_views.content(way, lambda: store) == first


def test_a_column_remembers_the_rounds_it_answered_and_no_others():
    one, two = ways(["zero_shot"], ("greedy", "random"))
    rounds = [
        Round("a", [one, two], {one.key: Said([Piece("A")]), two.key: Said(error="refused")}),
        Round("b", [two], {two.key: Said([Piece("B")])}),
    ]
    assert [turn["content"] for turn in asking.history(rounds, one)] == ["a", "A"]
    assert [turn["content"] for turn in asking.history(rounds, two)] == ["b", "B"]


def test_an_answer_is_shown_and_does_nothing():
    top = [(HOSTILE, -0.1), ('" onmouseover="x', -3.0)]
    shown = playground_views.answer(Said([Piece(HOSTILE + "\u202e", [(HOSTILE, -0.1, top)])]))
    assert "<img" not in shown and "<a " not in shown
    assert 'onmouseover="x' not in shown
    assert "⟦U+202E⟧" in shown


def test_a_letter_of_several_tokens_is_one_piece_with_all_of_them():
    tokens = [("bytes:\\xe6\\x97", -1.0, []), ("bytes:\\xa5", 0.0, [])]
    shown = playground_views.answer(Said([Piece("日", tokens)]))
    assert shown.count("<span") == 1 and ">日<" in shown
    assert "36.8 %" in shown and "100.0 %" in shown


def test_without_a_server_the_page_says_how_to_start_one(home: Path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_SERVE_URL", "http://127.0.0.1:9")
    test = AppTest.from_file(str(APP), default_timeout=120)
    test.switch_page("app_pages/playground.py").run()
    assert not test.exception
    assert [one.value for one in test.code] == ["tunesmith serve nano"]
    assert "No server answers at http://127.0.0.1:9" in "".join(one.value for one in test.caption)


def test_an_address_that_is_none_is_told(home: Path):
    assert "begins with http" in str(asking.served("file:///etc/passwd"))


@pytest.fixture(scope="module")
def models(told: Path) -> Iterator[str]:
    """Where a server with the nano model, twice, answers."""
    with serving(told, "nano", "twin=nano") as (_, at):
        wait_until_ready(at)
        yield at


def opened(page, address: str, at: str) -> None:
    page.goto(f"{address}/playground")
    page.get_by_role("textbox", name="Server").fill(at)
    page.get_by_role("textbox", name="Server").press("Enter")
    page.get_by_placeholder("Ask all columns").wait_for()


def ask(page, question: str) -> None:
    page.get_by_placeholder("Ask all columns").fill(question)
    page.get_by_placeholder("Ask all columns").press("Enter")


def answered(page, count: int) -> list[str]:
    """Wait until so many answers are complete; return their texts."""
    page.wait_for_function(
        "n => document.querySelectorAll('.tune-answer').length === n"
        " && !document.querySelector('.tune-cursor')"
        " && document.querySelector('[data-testid=stApp]').dataset.testScriptState !== 'running'",
        arg=count,
    )
    return [one.evaluate("e => e.textContent") for one in page.locator(".tune-answer").all()]


def own_answer(at: str, messages: list[dict[str, str]]) -> str:
    body = {"model": "nano", "messages": messages, "temperature": 0, "max_tokens": 128}
    answer = httpx.post(f"{at}/v1/chat/completions", json=body, timeout=60).json()
    return str(answer["choices"][0]["message"]["content"])


def test_two_models_answer_a_conversation_side_by_side(page, address, models):
    opened(page, address, models)
    ask(page, TALK)
    talk = [{"role": "user", "content": TALK}]
    first = own_answer(models, talk)
    assert answered(page, 2) == [first, first]
    ask(page, "And then?")
    talk += [{"role": "assistant", "content": first}, {"role": "user", "content": "And then?"}]
    assert answered(page, 4)[2:] == [own_answer(models, talk)] * 2
    assert page.locator("[data-testid=stException]").count() == 0


def test_a_token_tells_its_probability_and_the_alternatives(page, address, models):
    opened(page, address, models)
    ask(page, TALK)
    answered(page, 2)
    body = {
        "model": "nano", "messages": [{"role": "user", "content": TALK}], "temperature": 0,
        "max_tokens": 1, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    told = httpx.post(f"{models}/v1/chat/completions", json=body, timeout=60).json()
    best, other = told["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    title = page.locator(".tune-token").first.get_attribute("title")
    assert title.splitlines()[0] == f"{best['token']}  {playground_views._percent(best['logprob'])}"
    assert f"{other['token']}  {playground_views._percent(other['logprob'])}" in title


def test_a_column_can_be_copied_and_saved(page, address, models, store):
    opened(page, address, models)
    page.get_by_text("Config to copy").click()
    page.get_by_text("name: zero_shot").first.wait_for()
    page.get_by_text("Save as a prompt version").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("plain")
    page.get_by_role("textbox", name="Alias").fill("production")
    page.get_by_role("textbox", name="Your name").fill("ann")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved as plain@1").wait_for()
    found = saved_prompts.resolve(store, "plain@production")
    assert (found.author, found.content["sampler"]) == ("ann", {"name": "greedy"})
    opened(page, address, models)
    page.get_by_role("combobox", name="Styles").fill("plain@1")
    page.get_by_role("option", name="{name: saved, prompt: plain@1}", exact=True).click()
    page.keyboard.press("Escape")
    ask(page, TALK)
    assert len(set(answered(page, 4))) == 1


def test_a_style_that_cannot_ask_says_why_in_its_column(page, address, models):
    opened(page, address, models)
    page.get_by_role("combobox", name="Styles").fill("few_shot")
    page.get_by_role("option", name="few_shot", exact=True).click()
    page.keyboard.press("Escape")
    ask(page, TALK)
    answered(page, 4)
    assert page.get_by_text("needs 4 solved rows").count() == 2


class Hostile(BaseHTTPRequestHandler):
    """A server whose model writes what would do harm."""

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        models = {"data": [{"id": HOSTILE[:30]}]}
        names = {"styles": [{"name": "zero_shot", "options": {}}], "samplers": [{"name": "greedy"}]}
        self._send(json.dumps(names if "techniques" in self.path else models), "application/json")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        token = {"token": HOSTILE, "logprob": -1.0, "bytes": []}
        logprobs = {"content": [{**token, "top_logprobs": [token]}]}
        choice = {"delta": {"content": HOSTILE}, "logprobs": logprobs, "finish_reason": "stop"}
        self._send(
            f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n", "text/event-stream"
        )

    def _send(self, text: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def hostile() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_what_a_model_writes_is_letters_and_nothing_else(page, address, hostile):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, address, hostile)
    ask(page, TALK)
    assert answered(page, 1) == [HOSTILE]
    assert page.evaluate("window.hacked") is None
    assert page.locator(".tune-answer img, .tune-answer a").count() == 0
    assert not [url for url in asked if "evil" in url]


def test_a_phone_shows_the_columns_below_each_other_in_its_width(browser, address, models):
    context = browser.new_context(viewport={"width": 400, "height": 900})
    window = context.new_page()
    window.set_default_timeout(90_000)
    opened(window, address, models)
    ask(window, TALK)
    answered(window, 2)
    first, second = (one.bounding_box() for one in window.locator(".tune-answer").all())
    assert second["y"] > first["y"] + first["height"]
    assert window.evaluate("document.documentElement.scrollWidth") <= 400
    context.close()
