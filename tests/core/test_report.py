"""The report: one file, safe to open, honest about what it does not know."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import story
import yaml
from story import Story

from tunesmith import store as stores
from tunesmith.errors import StoreError
from tunesmith.report import inert, words, write_report
from tunesmith.report import summary as summarised
from tunesmith.store import ledger, runs

SECTIONS = (
    "summary stages curves data samples reward scores wins sizes gates lineage config reproduce"
).split()
HOSTILE = (
    "<script>alert(1)</script><img src=//evil.example/x onerror=alert(1)>"
    "</div></section><style>*{display:none}</style> ![x](http://evil.example) \u202egnp.exe"
)
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Reads a page: its ids, its tags with their attributes, its text; every tag must be closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.text = ""
        self.stack: list[str] = []
        self.feed(self.source)
        assert self.stack == [], f"never closed: {self.stack}"

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack[-1:] != ["style"]:
            self.text += data


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return story.tell(tmp_path_factory.mktemp("complete"))


@pytest.fixture(scope="module")
def page(complete: Story, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("out") / "report.html"
    return Page(write_report(complete.store, complete.run_id, out))


def test_a_complete_run_has_every_section(page: Page):
    assert [one for one in SECTIONS if one not in page.ids] == []


def test_the_file_is_small(page: Page):
    assert len(page.source.encode()) < 3_000_000


def test_nothing_is_loaded_from_anywhere(page: Page):
    loads = [
        (tag, value)
        for tag, found in page.tags
        for name, value in found.items()
        if name in ("src", "srcset", "href", "xlink:href", "action", "data", "poster")
        and not (value or "").startswith("#")
    ]
    assert loads == []
    assert not re.search(r"url\((?!#)|@import|https?://", page.source)


def test_scripts_are_forbidden_and_there_are_none(page: Page):
    policy = next(
        found["content"]
        for tag, found in page.tags
        if found.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not [tag for tag, found in page.tags if tag == "script"]
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert not [found for _, found in page.tags if "style" in found]


def test_simulated_feedback_is_said_loudly(page: Page):
    assert "Feedback is simulated" in page.text
    assert page.source.index("Feedback is simulated") < page.source.index('id="summary"')


def test_differences_are_told_in_words(page: Page):
    assert "significantly better on 5 of 5 exams" in page.text
    assert "not significant" in page.text


def test_every_chart_is_there(page: Page):
    titles = ("tune: loss", "align: reward", "align: kl", "align: length", "align: clip fraction")
    assert [title for title in titles if title not in page.text] == []
    assert page.source.count('class="chart"') >= 12


def test_the_same_prompt_is_shown_with_every_models_answer(page: Page):
    samples = page.source.split('id="samples"')[1].split('id="reward"')[0]
    first = samples.split('class="question"')[1]
    models = re.findall(r'class="who"><span>(\w+)</span>', first)
    assert models == ["base", "tuned", "aligned", "quantized"]


def test_the_configuration_can_be_run_again(page: Page):
    text = re.search(r"<pre>(name: .*?)</pre>", page.source, re.DOTALL)
    assert text is not None
    assert yaml.safe_load(text[1].replace("&#39;", "'")) == story.CONFIG


def test_the_summary_is_json_with_the_same_numbers(complete: Story, page: Page):
    told = summarised(complete.store, complete.run_id)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["simulated"] is True
    assert [stage["stage"] for stage in told["stages"]] == list(story.STAGES)
    assert {one["model"] for one in told["sizes"]} == set(story.MODELS)
    for sentence in told["headlines"]:
        assert sentence in page.text
    rate = told["win_rates"][0]
    assert f"{100 * rate['value']:.1f} %" in page.text


def test_hostile_answers_are_shown_and_do_nothing(tmp_path: Path):
    told = Story(stores.open(tmp_path / "home"), say=HOSTILE).tell()
    found = Page(write_report(told.store, told.run_id, tmp_path / "report.html"))
    assert "<script>alert(1)</script>" in found.text
    assert "⟦U+202E⟧gnp.exe" in found.text
    assert "\u202e" not in found.source
    assert not [tag for tag, _ in found.tags if tag in ("script", "img", "link", "iframe")]


def test_hostile_names_of_curves_and_tasks_stay_text(tmp_path: Path):
    told = story.tell(tmp_path / "home", until="tune")
    bad = "<img src=x onerror=alert(1)>"
    runs.log_points(told.store, told.run_id, "tune", [{"step": n, bad: n} for n in range(3)])
    found = Page(write_report(told.store, told.run_id, tmp_path / "report.html"))
    assert bad in found.text
    assert not [tag for tag, _ in found.tags if tag == "img"]


@pytest.mark.parametrize("until", ["prepare", "tune", "collect", "evaluate"])
def test_a_run_that_got_only_so_far_has_a_report(tmp_path: Path, until: str):
    told = story.tell(tmp_path / "home", until=until)
    found = Page(write_report(told.store, told.run_id, tmp_path / "report.html"))
    assert "stages" in found.ids
    assert ("scores" in found.ids) == (until == "evaluate")


def test_a_failed_run_says_where_and_why_and_how_to_go_on(tmp_path: Path):
    told = story.tell(tmp_path / "home", failing="align")
    found = Page(write_report(told.store, told.run_id, tmp_path / "report.html"))
    assert "This run failed" in found.text
    assert "The loss is not a number. Lower learning_rate." in found.text
    assert f"tunesmith resume {told.run_id}" in found.text
    assert found.text.count("to come") == 3


def test_a_waiting_run_says_for_how_many_labels(tmp_path: Path):
    told = story.waiting(tmp_path / "home", pairs=6)
    found = Page(write_report(told.store, told.run_id, tmp_path / "report.html"))
    assert "This run waits for people" in found.text
    assert "0 of 6 pairs have all 1 label" in found.text
    assert "Feedback is simulated" not in found.text


def test_a_run_without_any_stage_has_a_report(tmp_path: Path):
    store = stores.open(tmp_path / "home")
    run_id = runs.create(store, "empty", {"name": "empty", "seed": 1, "model": "builtin:nano"})
    found = Page(write_report(store, run_id, tmp_path / "report.html"))
    assert "There are no results yet: no stage has been completed." in found.text


def test_a_cached_run_shows_the_curves_and_speeds_of_the_run_that_worked(tmp_path: Path):
    told = story.tell(tmp_path / "home")
    again = runs.create(told.store, "nano-demo", told.config)
    for stage, artifact in told.made.items():
        ledger.cached(told.store, again, stage, f"{told.run_id}/{stage}", artifact)
    runs.set_status(told.store, again, "COMPLETED")
    found = Page(write_report(told.store, again, tmp_path / "report.html"))
    assert f"logged by {told.run_id}" in found.text
    assert found.text.count("cached") >= 9
    assert summarised(told.store, again)["sizes"][0]["tokens_per_second"] == 800


def test_an_altered_result_is_told_instead_of_shown(tmp_path: Path):
    told = story.tell(tmp_path / "home", until="evaluate")
    folder = told.store.artifacts.root / told.made["evaluate"]
    (folder / "measurements.json").write_text("[]", encoding="utf-8")
    found = Page(write_report(told.store, told.run_id, tmp_path / "report.html"))
    assert "measurements.json of" in found.text
    assert "was altered" in found.text
    assert "scores" not in found.ids


def test_a_report_of_no_run_names_the_nearest(complete: Story, tmp_path: Path):
    with pytest.raises(StoreError, match="nano-demo-0001"):
        write_report(complete.store, "nano-demo-001", tmp_path / "report.html")


def test_a_place_that_cannot_be_written_is_named(complete: Story, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--out"):
        write_report(complete.store, complete.run_id, tmp_path / "file" / "report.html")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_long_answer_is_cut_and_says_so():
    found = inert.cut("x" * 5_000)
    assert (len(found.text), found.left_out) == (inert.LONGEST, 5_000 - inert.LONGEST)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a⟦U+202E⟧b"),
        ("a\x00b\x1b[31m", "a⟦U+0000⟧b⟦U+001B⟧[31m"),
        ("\ud800", "⟦U+D800⟧"),
        ("zero\u200bwidth", "zero⟦U+200B⟧width"),
        ("line\r\nbreak\ttab", "line\nbreak\ttab"),
        ("čeština 日本語 👩\u200d🚀 می\u200cشود", "čeština 日本語 👩\u200d🚀 می\u200cشود"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str):
    assert inert.visible(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (188, "3 min 08 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_well(seconds: float, shown: str):
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(512, "512 B"), (5_510_000, "5.51 MB")])
def test_sizes_read_well(count: int, shown: str):
    assert words.size(count) == shown
