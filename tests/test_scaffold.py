"""`tunesmith plugins new`: what it writes works as it stands, for every family."""

import json
import shutil
import subprocess
import sys
import tomllib

import pytest

from tunesmith import scaffold
from tunesmith.cli import main
from tunesmith.errors import ConfigError, PluginError
from tunesmith.scaffold.writing import camel, snake
from tunesmith.techniques import FAMILIES, Sampler


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return what is written for every family, and a folder in which all of it is installed."""
    folder = tmp_path_factory.mktemp("plugins")
    packages = [scaffold.write(f"own_{snake(one.family)}", one, folder) for one in FAMILIES]
    site, points = folder / "site", ["[tunesmith]"]
    info = site / "tunesmith_owns-1.0.dist-info"
    info.mkdir(parents=True)
    for one in packages:
        shutil.copy(one.folder / f"{one.module}.py", site)
        project = tomllib.loads((one.folder / "pyproject.toml").read_text())
        for name, module in project["project"]["entry-points"]["tunesmith"].items():
            points.append(f"{name} = {module}")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tunesmith-owns\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    return packages, site


def run(site, *argv, cwd=None):
    env = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "TUNESMITH_HOME": str(site / "home")}
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, env=env, capture_output=True, text=True, timeout=580
    )


def test_every_family_gets_a_package_of_its_own(made):
    packages, _ = made
    assert [one.family for one in packages] == [family.family for family in FAMILIES]
    for one in packages:
        assert all((one.folder / path).is_file() for path in one.files)
        code = (one.folder / f"{one.module}.py").read_text()
        assert f'name = "{one.technique}"' in code
        assert "Example" not in code and '"example"' not in code
        assert f"class {camel(one.technique)}({one.family}):" in code
        project = tomllib.loads((one.folder / "pyproject.toml").read_text())["project"]
        assert project["name"] == one.distribution


def test_the_test_of_every_one_passes(made):
    packages, site = made
    tests = [str(one.folder / "tests") for one in packages]
    done = run(site, "-m", "pytest", "-q", "--import-mode=importlib", *tests, cwd=site)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " failed" not in done.stdout and " skipped" not in done.stdout


def test_every_one_keeps_the_promises_of_its_family(made):
    packages, site = made
    done = run(site, "-m", "tunesmith.cli", "plugins", "test", "tunesmith-owns", "--json")
    found = json.loads(done.stdout)
    wrong = [one for one in found["results"] if one["outcome"] != "kept"]
    assert wrong == [] and found["passed"]
    assert {one["technique"] for one in found["results"]} == {one.technique for one in packages}


def test_one_installs_with_pip_and_is_listed(tmp_path):
    made = scaffold.write("own_way", Sampler, tmp_path)
    site = tmp_path / "site"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([sys.executable, *pip, "--target", str(site), str(made.folder)], check=True)
    done = run(site, "-m", "tunesmith.cli", "plugins", "show", "sampler", "own_way", "--json")
    found = json.loads(done.stdout)
    assert (found["distribution"], found["version"]) == ("tunesmith-own-way", "0.1.0")
    assert found["plugin"] == "sampler.own_way"


class TestRefuses:
    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("Top-A", " Did you mean 'top_a'?"),
            ("2fast", " Did you mean 'fast'?"),
            ("class", ""),
            ("", ""),
            ("../up", " Did you mean 'up'?"),
            ("a__b", " Did you mean"),
            ("ü", ""),
            ("x" * 51, ""),
        ],
    )
    def test_a_name_that_is_none(self, tmp_path, name, hint):
        with pytest.raises(ConfigError) as caught:
            scaffold.write(name, Sampler, tmp_path)
        assert str(caught.value).startswith(f"{name!r} cannot name a technique.{hint}")
        assert list(tmp_path.iterdir()) == []

    def test_the_name_of_a_technique(self, tmp_path):
        with pytest.raises(PluginError, match=r"a Sampler named 'min_p' already, from sampler\.mi"):
            scaffold.write("min_p", Sampler, tmp_path)

    def test_a_folder_that_is_there_and_leaves_it_alone(self, tmp_path):
        (tmp_path / "tunesmith-own-way").mkdir()
        with pytest.raises(ConfigError, match="tunesmith-own-way is there already"):
            scaffold.write("own_way", Sampler, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["tunesmith-own-way"]

    def test_a_place_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="Cannot write to"):
            scaffold.write("own_way", Sampler, tmp_path / "file")


class TestTheCommand:
    def test_tells_programs_what_it_wrote(self, tmp_path, capsys):
        argv = ["plugins", "new", "own_way", "--family", "training_method", "--out", str(tmp_path)]
        assert main([*argv, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["family"] == "TrainingMethod" and found["module"] == "tunesmith_own_way"
        assert (tmp_path / "tunesmith-own-way" / "tests" / "test_own_way.py").is_file()
        assert "tunesmith plugins test tunesmith-own-way" in found["next"]

    def test_refuses_with_one_sentence(self, tmp_path, capsys):
        argv = ["plugins", "new", "own_way", "--out", str(tmp_path), "--family"]
        assert main([*argv, "sampeler"]) == 2
        assert "Did you mean 'Sampler'?" in capsys.readouterr().err
        assert main([*argv, "sampler"]) == 0
        assert main([*argv, "sampler"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
