"""The dashboard in a browser: what a person sees, presses and types."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tunesmith import Pair
from tunesmith.records import Label
from tunesmith.store import Store, campaigns

pytestmark = pytest.mark.timeout(300)
Opened = Callable[..., str]
TWICE = """([x, y, pause]) => new Promise(done => {
    const hit = () => document.elementFromPoint(x, y).closest("button")?.click();
    hit();
    const first = performance.now();
    setTimeout(() => { hit(); done(performance.now() - first); }, pause);
})"""
HELD = """key => new Promise(done => {
    let last = performance.now(), longest = 0;
    const end = last + 1500;
    const timer = setInterval(() => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
        const press = {key, code: "Digit" + key, bubbles: true, repeat: true};
        document.body.dispatchEvent(new KeyboardEvent("keydown", press));
        if (now > end) { clearInterval(timer); done(longest); }
    }, 30);
})"""
NUMBERS = itertools.count()
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    " ![pixel](http://evil.example/pixel.png) [click](javascript:window.hacked=1)"
    " :red[red] :material/bolt: $$x^2$$ **bold** \u202egnp.exe"
)


@pytest.fixture
def campaign(store: Store) -> Opened:
    """Open a campaign of numbered pairs and return its id."""

    def opened(name: str, pairs: int = 4, text: str = "", task: str = "creative_writing") -> str:
        made = [
            Pair(
                f"{name}-{n}", task, [{"role": "user", "content": f"question {n} {text}"}],
                f"first {n} {text}", f"second {n} {text}", {},
            )
            for n in range(pairs)
        ]  # fmt: skip
        guide = "Prefer the true one."
        return campaigns.create(store, f"{name}-{next(NUMBERS)}", made, guidelines=guide, seed=3)

    return opened


def visit(page, address: str, path: str) -> None:
    """Open a page and wait until it stands still."""
    page.goto(f"{address}/{path}")
    page.wait_for_selector("h1")
    rest(page)


def rest(page) -> None:
    """Wait until the script has run and everything it drew is there."""
    page.wait_for_function(
        """() => {
        const app = document.querySelector('[data-testid=stApp]');
        return app && app.dataset.testScriptState !== 'running'
            && !document.querySelector('[data-testid=stSkeleton]')
            && !document.querySelector('[data-stale=true]'); }"""
    )


def asks(page, number: int) -> None:
    """Wait until the page asks a question, and until it has been seen for a moment."""
    page.get_by_text(f"question {number} ").first.wait_for()
    rest(page)
    page.wait_for_timeout(700)


def stored(store: Store, name: str) -> dict[str, Label]:
    return {label.pair_id: label for label in campaigns.labels(store, name)}


@pytest.mark.parametrize(
    ("path", "shows"),
    [
        ("", "nano-demo-0001"),
        ("run?run=nano-demo-0001", "Feedback is simulated"),
        ("run?run=nano-demo-0002", "The loss is not a number"),
        ("run?run=nano-demo-0003", "This run waits for people"),
        ("models", "version 1"),
        ("label?campaign=stories", "Say who you are"),
    ],
)
def test_every_page_opens_without_an_exception_and_asks_nobody_else(page, address, path, shows):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, address, path)
    page.get_by_text(shows).first.wait_for()
    assert page.locator("[data-testid=stException]").count() == 0
    hosts = {urlsplit(url).hostname for url in asked if url.startswith("http")}
    assert hosts == {"127.0.0.1"}


def test_all_views_of_a_run_open(page, address):
    visit(page, address, "run?run=nano-demo-0001")
    for view in ("Curves", "Samples", "Feedback", "Evidence", "Configuration"):
        page.get_by_role("tab", name=view).click()
        rest(page)
    assert page.locator("[data-testid=stException]").count() == 0


def test_a_run_in_the_history_leads_to_its_page(page, address):
    visit(page, address, "")
    page.get_by_text("nano-demo-0002").first.click()
    page.get_by_role("tab", name="Stages").wait_for()
    assert "run=nano-demo-0002" in page.url


def test_labelling_goes_by_keyboard(page, address, store, campaign):
    name = campaign("keys", pairs=4)
    visit(page, address, f"label?as=kay&campaign={name}")
    for number, key in enumerate("1230"):
        asks(page, number)
        page.keyboard.press(key)
    page.get_by_text("There are enough labels").wait_for()
    given = stored(store, name)
    left = {f"keys-{n}": given[f"keys-{n}"].shown_first for n in range(4)}
    other = {"first": "second", "second": "first"}
    assert given["keys-0"].verdict == left["keys-0"]
    assert given["keys-1"].verdict == other[left["keys-1"]]
    assert [given[f"keys-{n}"].verdict for n in (2, 3)] == ["tie", "both_bad"]


def test_a_skip_keeps_its_reason_and_undo_brings_the_pair_back(page, address, store, campaign):
    name = campaign("skips", pairs=3)
    visit(page, address, f"label?as=kay&campaign={name}")
    asks(page, 0)
    page.keyboard.press("s")
    asks(page, 1)
    assert stored(store, name)["skips-0"].details == {"reason": "cannot judge"}
    page.keyboard.press("u")
    asks(page, 0)
    assert stored(store, name) == {}


@pytest.mark.parametrize("pause", [0, 100, 250])
def test_a_double_click_stores_one_label_of_the_pair_that_was_seen(
    page, address, store, campaign, pause
):
    name = campaign(f"double{pause}", pairs=3)
    visit(page, address, f"label?as=kay&campaign={name}")
    asks(page, 0)
    box = page.get_by_role("button", name="A is better").bounding_box()
    # Inside the page, so that the pause is what it says even on a busy machine.
    twice = page.evaluate(TWICE, [box["x"] + 20, box["y"] + 20, pause])
    if twice > 400:
        pytest.skip(f"the machine is too busy: {twice:.0f} ms between two clicks")
    asks(page, 1)
    assert list(stored(store, name)) == [f"double{pause}-0"]


def test_two_different_keys_at_once_store_one_label(page, address, store, campaign):
    name = campaign("both", pairs=3)
    visit(page, address, f"label?as=kay&campaign={name}")
    asks(page, 0)
    page.keyboard.press("3")
    page.keyboard.press("0")
    asks(page, 1)
    given = {pair: label.verdict for pair, label in stored(store, name).items()}
    # Streamlit may hand over both presses together; which comes first is then its choice.
    assert given in ({"both-0": "tie"}, {"both-0": "both_bad"})


def test_a_key_held_down_stores_one_label(page, address, store, campaign):
    name = campaign("held", pairs=5)
    visit(page, address, f"label?as=kay&campaign={name}")
    asks(page, 0)
    longest = page.evaluate(HELD, "3")
    if longest > 400:
        pytest.skip(f"the machine is too busy: {longest:.0f} ms between two repeats of a key")
    asks(page, 1)
    assert list(stored(store, name)) == ["held-0"]


def test_hostile_texts_do_nothing_and_are_shown_as_they_are(page, address, campaign):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for task in ("creative_writing", "code_generation"):
        name = campaign(f"hostile-{task[:4]}", pairs=1, text=HOSTILE, task=task)
        visit(page, address, f"label?as=kay&campaign={name}")
        asks(page, 0)
        assert page.evaluate("window.hacked") is None
        assert page.locator("[data-testid=stMain] img").count() == 0
        assert page.locator("a[href^='javascript']").count() == 0
        shown = page.locator("[data-testid=stMain]").inner_text()
        assert shown.count("<script>window.hacked = 1</script>") == 3
        assert shown.count("⟦U+202E⟧gnp.exe") == 3
        assert "\u202e" not in shown
    assert not [url for url in asked if "evil" in url]


def test_a_reload_keeps_name_progress_pair_and_what_was_typed(page, address, store, campaign):
    name = campaign("reload", pairs=3)
    visit(page, address, f"label?as=kay&campaign={name}")
    asks(page, 0)
    page.keyboard.press("1")
    asks(page, 1)
    page.get_by_text("Comment, a better answer").click()
    page.get_by_role("textbox", name="Comment").fill("half a thought")
    page.get_by_role("textbox", name="A better answer").click()
    page.wait_for_timeout(800)
    page.reload()
    asks(page, 1)
    assert page.get_by_text("1 of 3 labels, 2 to go · 1 by you").count() == 1
    page.get_by_text("Comment, a better answer").click()
    assert page.get_by_role("textbox", name="Comment").input_value() == "half a thought"


def test_keys_typed_into_a_field_are_text(page, address, store, campaign):
    name = campaign("typing", pairs=2)
    visit(page, address, f"label?as=kay&campaign={name}")
    asks(page, 0)
    page.get_by_text("Comment, a better answer").click()
    page.get_by_role("textbox", name="Comment").click()
    page.keyboard.type("1 us 20", delay=60)
    page.wait_for_timeout(600)
    assert stored(store, name) == {}
    page.get_by_role("button", name="B is better").click()
    asks(page, 1)
    assert stored(store, name)["typing-0"].details == {"comment": "1 us 20"}


def test_the_model_behind_an_answer_is_named_nowhere(page, address):
    visit(page, address, "label?as=kay&campaign=stories")
    shown = page.locator("[data-testid=stMain]").inner_text().lower()
    assert not [model for model in ("tuned", "aligned", "quantized") if model in shown]


def test_a_phone_shows_everything_in_its_width(browser, address, campaign):
    name = campaign("phone", pairs=1)
    context = browser.new_context(viewport={"width": 400, "height": 800})
    window = context.new_page()
    window.goto(f"{address}/label?as=kay&campaign={name}")
    asks(window, 0)
    assert window.evaluate("document.documentElement.scrollWidth") <= 400
    context.close()
