"""The documentation says what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

from tunesmith.config import Lifecycle, load_config
from tunesmith.techniques import FAMILIES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    before = dict(__import__("os").environ)
    spec.loader.exec_module(module)
    yield module
    __import__("os").environ.clear()
    __import__("os").environ.update(before)


@pytest.mark.parametrize("page", ["config.md", "techniques.md", "cli.md"])
def test_a_generated_page_is_what_the_code_says(generate, page):
    written = (DOCS / page).read_text(encoding="utf-8")
    assert written == generate.NOTE + generate.PAGES[page](), "run `make docs`"


def test_the_generated_parts_of_the_plugin_guide_are_what_the_code_says(generate):
    guide = (DOCS / "plugins.md").read_text(encoding="utf-8")
    assert guide == generate.with_parts("plugins.md", guide), "run `make docs`"
    stale = guide.replace("Ways to reshape the logits", "Ways to cook the logits")
    assert stale != guide == generate.with_parts("plugins.md", stale)


def test_every_family_has_a_section_with_its_verbs_and_its_promises():
    from tunesmith.contracts.catalogue import SPECIFIC

    guide = (DOCS / "plugins.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", guide, re.MULTILINE | re.DOTALL))
    for family in FAMILIES:
        section = sections[family.family]
        verbs = [name for name, one in vars(family).items() if callable(one) and name[0] != "_"]
        assert f"`{family.hook}()`" in section and "plugins new" in section
        assert all(f"`{verb}(" in section for verb in verbs), family
        assert all(one.promise in section for one in SPECIFIC[family.family]), family


def test_a_missing_mark_in_the_plugin_guide_is_an_error(generate):
    with pytest.raises(SystemExit, match=r"plugins\.md lacks"):
        generate.with_parts("plugins.md", "# Plugins")


def test_every_section_and_key_is_in_the_config_page():
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    for name in Lifecycle.model_fields:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_exist(page):
    from typer.main import get_command

    from tunesmith.cli.commands import app

    known = get_command(app).commands
    for line in re.findall(r"^\s*\$?\s*tunesmith (.+)$", page.read_text("utf-8"), re.MULTILINE):
        words = re.findall(r"^[a-z][a-z-]*", line)
        assert not words or words[0] in known, f"{page.name}: tunesmith {line}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_example_is_a_config(path):
    assert load_config(path).name


def test_no_page_names_a_place_on_somebody_s_machine():
    for page in PAGES:
        assert not re.search(r"/(root|home|Users|work|tmp)/", page.read_text(encoding="utf-8"))
