"""The pages' logic, without a browser: real store, real records."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import story
from streamlit.testing.v1 import AppTest

import tunesmith_dashboard
from tunesmith import store as stores
from tunesmith.store import annotators, campaigns, labelling
from tunesmith_dashboard import turns

APP = Path(tunesmith_dashboard.__file__).with_name("app.py")
VIEWS = ("Stages", "Curves", "Samples", "Feedback", "Evidence", "Configuration")


def shown(page: str, **query: str) -> AppTest:
    """Return a page as the app shows it."""
    test = AppTest.from_file(str(APP), default_timeout=120)
    for name, value in query.items():
        test.query_params[name.strip("_")] = value
    test.switch_page(f"app_pages/{page}.py")
    return checked(test.run())


def checked(test: AppTest) -> AppTest:
    assert not test.exception, test.exception
    return test


def everything(test: AppTest) -> str:
    """Return all that a page says."""
    kinds = ("title", "subheader", "markdown", "caption", "text", "code", "error", "info")
    kinds = (*kinds, "success", "warning", "toast")
    return "\n".join(str(one.value) for kind in kinds for one in getattr(test, kind))


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("runs", "No runs yet"),
        ("run", "No runs yet"),
        ("label", "Nothing to label"),
        ("models", "Nothing released yet"),
    ],
)
def test_an_empty_home_says_what_would_fill_each_page(home: Path, page: str, says: str):
    assert says in everything(shown(page))


def test_a_database_that_is_not_ours_is_told_in_words(home: Path):
    home.mkdir()
    (home / "tunesmith.db").write_bytes(b"this is no database" * 100)
    said = everything(shown("runs"))
    assert "This cannot be shown." in said
    assert "is not a SQLite database" in said


@pytest.fixture
def read_only(told: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that all tests of a session share; look, do not touch."""
    monkeypatch.setenv("TUNESMITH_HOME", str(told))
    return told


def test_the_history_is_filtered_by_name_and_by_status(read_only: Path):
    def failures(test: AppTest) -> int:
        return everything(test).count("align failed")

    page = shown("runs")
    assert failures(page) == 1
    page.text_input(key="name").set_value("0001")
    assert failures(checked(page.run())) == 0
    page.text_input(key="name").set_value("")
    page.button_group(key="status").set_value(["FAILED"])
    assert failures(checked(page.run())) == 1


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_view_of_every_run_draws(read_only: Path, number: int, view: str):
    page = shown("run", run=f"nano-demo-000{number}", view=view)
    assert f"nano-demo-000{number}" in page.title[0].value


def test_a_failed_run_shows_its_error_and_how_to_go_on(read_only: Path):
    said = everything(shown("run", run="nano-demo-0002"))
    assert "The loss is not a number. Lower learning_rate." in said
    assert "tunesmith resume nano-demo-0002" in said


def test_simulated_feedback_is_said_on_the_runs_page(read_only: Path):
    assert "Feedback is simulated" in everything(shown("run", run="nano-demo-0001"))
    assert "Feedback is simulated" not in everything(shown("run", run="nano-demo-0003"))


def test_a_run_that_is_not_there_is_named(read_only: Path):
    said = everything(shown("run", run="nano-demo-9999"))
    assert "There is no such run." in said


def test_a_released_version_shows_its_alias_its_gates_and_its_run(read_only: Path):
    said = everything(shown("models"))
    assert "version 1" in said
    assert "candidate" in said
    assert "of 4 gates passed" in said


@pytest.fixture
def waiting(home: Path) -> story.Story:
    """A run that waits for one label on each of three pairs."""
    return story.waiting(home, pairs=3)


def labelling_as(name: str, campaign: str = "stories") -> AppTest:
    return shown("label", as_=name, campaign=campaign)


def choose(page: AppTest, choice: str, pause: float = turns.CALM + 0.1) -> AppTest:
    """Press a button after having looked at the pair."""
    time.sleep(pause)
    button = next(one for one in page.button if (one.key or "").startswith(f"{choice}-"))
    return checked(button.click().run())


def given(told: story.Story) -> list[str]:
    return [label.verdict for label in campaigns.labels(told.store, "stories")]


def test_a_choice_is_stored_as_the_answer_it_stood_for(waiting: story.Story):
    page = labelling_as("ada")
    turn = labelling.next_assignment(waiting.store, "stories", "ada")
    assert turn is not None
    choose(page, "left")
    label = campaigns.labels(waiting.store, "stories")[0]
    assert label.verdict == label.shown_first == turn.shown_first
    assert label.annotator == "ada"


def test_sides_differ_between_people_and_stay_for_each(waiting: story.Story):
    names = [f"p{n}" for n in range(12)]
    sides = {name: side_of(waiting, name) for name in names}
    assert set(sides.values()) == {"first", "second"}
    assert sides == {name: side_of(waiting, name) for name in names}


def side_of(told: story.Story, name: str) -> str:
    campaigns.create(told.store, f"of-{name}", told.pairs[:1], seed=7)
    turn = labelling.next_assignment(told.store, f"of-{name}", name)
    assert turn is not None
    return turn.shown_first


def test_a_press_that_comes_too_fast_stores_nothing_and_says_so(waiting: story.Story):
    page = choose(labelling_as("ada"), "left", pause=0)
    assert given(waiting) == []
    assert "too fast" in everything(page)


def test_a_skip_has_the_chosen_reason_and_does_not_count(waiting: story.Story):
    page = labelling_as("ada")
    next(one for one in page.button_group if (one.key or "").startswith("reason-")).set_value(
        "unclear task"
    )
    choose(checked(page.run()), "skip")
    label = campaigns.labels(waiting.store, "stories")[0]
    assert (label.verdict, label.details) == ("skip", {"reason": "unclear task"})
    assert campaigns.progress(waiting.store, "stories").complete == 0


def test_comment_and_better_answer_go_with_the_label(waiting: story.Story):
    page = labelling_as("ada")
    page.text_input[1].set_value("B repeats itself")
    page.text_area[0].set_value("A better story.")
    choose(checked(page.run()), "tie")
    label = campaigns.labels(waiting.store, "stories")[0]
    assert label.details == {"comment": "B repeats itself", "edited": "A better story."}


def test_what_was_typed_survives_the_window(waiting: story.Story):
    page = labelling_as("ada")
    page.text_input[1].set_value("half a thought")
    checked(page.run())
    assert labelling_as("ada").text_input[1].value == "half a thought"


def test_undo_brings_the_pair_and_the_comment_back(waiting: story.Story):
    page = labelling_as("ada")
    page.text_input[1].set_value("hm")
    page = choose(choose(checked(page.run()), "both_bad"), "undo")
    assert given(waiting) == []
    assert page.text_input[1].value == "hm"
    assert "Taken back" in everything(page)


def test_undo_without_a_label_says_so(waiting: story.Story):
    assert "no label of yours" in everything(choose(labelling_as("ada"), "undo"))


def test_the_last_label_says_that_the_run_can_go_on(waiting: story.Story):
    page = labelling_as("ada")
    for _ in range(3):
        assert "tunesmith resume" not in everything(page)
        page = choose(page, "tie")
    assert f"tunesmith resume {waiting.run_id}" in everything(page)
    page = choose(page, "undo")
    assert given(waiting) == ["tie", "tie"]


def test_two_windows_of_one_person_store_one_label(waiting: story.Story):
    first, second = labelling_as("ada"), labelling_as("ada")
    choose(first, "left")
    page = choose(second, "right", pause=0)
    assert len(given(waiting)) == 1
    assert "already has your label" in everything(page)


def test_who_comes_when_others_have_the_pairs_is_told_to_wait(home: Path):
    told = story.waiting(home, pairs=1)
    labelling.next_assignment(told.store, "stories", "ada")
    assert "Nothing is left for you" in everything(labelling_as("ben"))


def test_an_excluded_annotator_reads_why(waiting: story.Story):
    labelling_as("ada")
    annotators.exclude(waiting.store, "ada", "clicked at random")
    assert "clicked at random" in everything(labelling_as("ada")).replace("\\", "")


def test_a_campaign_that_closes_meanwhile_stores_nothing(waiting: story.Story):
    page = labelling_as("ada")
    campaigns.close(waiting.store, "stories")
    page = choose(page, "left")
    assert given(waiting) == []
    assert "Nothing to label" in everything(page)


@pytest.mark.parametrize("name", ["Ada", "a b", "../x", "-ada", "ä", "<script>"])
def test_a_name_that_is_none_is_refused(waiting: story.Story, name: str):
    page = labelling_as(name)
    assert "A name has small letters" in everything(page)
    assert campaigns.progress(waiting.store, "stories").by_annotator == {}


def test_pages_import_no_torch_and_no_prefect(home: Path):
    import subprocess
    import sys

    code = (
        "import sys, tunesmith_dashboard.run_views, tunesmith_dashboard.turns;"
        "print([m for m in ('torch', 'transformers', 'prefect') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert stores.open(home)
