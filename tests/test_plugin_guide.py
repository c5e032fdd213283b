"""The plugin guide is a tutorial that is carried out here: its files written, its commands run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_sites import host_of, offer

from tunesmith import plugins

GUIDE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)(?: (\S+))?\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
MODULE = "tunesmith_top_a.py"
PIP = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]


def lines_match(said: list[str], wanted: list[str]) -> bool:
    """Compare output with what the guide shows, where ``...`` stands for anything."""
    pattern = "\n".join(map(re.escape, wanted)).replace(re.escape("..."), ".*")
    text = "\n".join(line.rstrip() for line in said)
    return re.fullmatch(pattern.rstrip("\n"), text.strip("\n"), re.DOTALL) is not None


class Reader:
    """Somebody who follows the guide in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.here, self.site, self.written = folder, folder / "site", []
        self.env = {
            "PYTHONPATH": str(self.site),
            "PATH": "/usr/bin:/bin",
            "TUNESMITH_HOME": str(folder / "home"),
            "COLUMNS": "300",
        }

    def write(self, path: str, text: str) -> None:
        assert (self.here / path).parent.is_dir(), path
        (self.here / path).write_text(text, encoding="utf-8")
        self.written.append(path)

    def follow(self, block: str) -> None:
        """Run each ``$`` line and compare with the lines under it."""
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            said = self.run(shlex.split(command))
            if shown.strip():
                assert lines_match(said.splitlines(), shown.splitlines()), f"{command}\n{said}"

    def run(self, argv: list[str]) -> str:
        if argv[0] == "cd":
            self.here = self.here / argv[1]
            return ""
        if argv == ["pip", "install", "."]:
            return self.install()
        module = {"tunesmith": "tunesmith.cli", "pytest": "pytest"}[argv[0]]
        extra = ["-p", "no:cacheprovider", "--color=no"] if argv[0] == "pytest" else []
        done = subprocess.run(
            [sys.executable, "-m", module, *argv[1:], *extra],
            cwd=self.here, env=self.env, capture_output=True, text=True, timeout=580,
        )  # fmt: skip
        return done.stdout + done.stderr

    def install(self) -> str:
        """Install as pip does, without a network, over what was there."""
        target = ["--no-build-isolation", "--upgrade", "--target", str(self.site), "."]
        env = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        subprocess.run([*PIP, *target], cwd=self.here, env=env, check=True)
        return ""


def test_the_tutorial_does_what_it_says(tmp_path):
    reader = Reader(tmp_path)
    for kind, name, text in BLOCKS:
        if kind == "console":
            reader.follow(text)
        elif name and name != "observer":
            reader.write(name, text)
    assert reader.written == [MODULE, "tests/test_top_a.py", MODULE, "lifecycle.yaml"]


def test_no_block_of_the_guide_is_left_out():
    known = {"": "a list of commands", "python": "named", "yaml": "named", "console": "run"}
    for kind, name, _ in BLOCKS:
        assert kind in known
        assert bool(name) == (known[kind] == "named")


def test_the_finished_plugin_has_25_lines_at_most_and_the_guide_counts_right():
    finished = [text for _, name, text in BLOCKS if name == MODULE][-1]
    lines = [line for line in finished.splitlines() if line.strip()]
    assert len(lines) <= 25
    assert f"the whole plugin, {len(lines)} lines" in " ".join(GUIDE.split())


def test_its_observer_hears_of_a_run(tmp_path, monkeypatch, capsys):
    (observer,) = [text for _, name, text in BLOCKS if name == "observer"]
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    offer(site, observer, "bell")
    host = host_of(site)
    monkeypatch.setattr(plugins, "host", lambda: host)
    plugins.announce("run_finished", run={"id": "a-0001"}, error=None)
    assert "a-0001: done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "wanted", "same"),
    [
        (["a", "b 12 c"], ["a", "b ... c"], True),
        (["a", "x", "y", "b"], ["a", "...", "b"], True),
        (["a"], ["b"], False),
        (["a", "b"], ["a"], False),
    ],
)
def test_the_comparison_itself_can_fail(said, wanted, same):
    assert lines_match(said, wanted) is same
