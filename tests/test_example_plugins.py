"""The example plugins are distributions of their own: installed by pip, listed, run, tried."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugins" / "tunesmith-top-nsigma"
GENERATE = """
import json
from tunesmith import Engine, Generation, Sampler, plugins
from tunesmith.contracts.tiny import tiny_model
said = {}
with plugins.build(Engine, "transformers").open(tiny_model()) as opened:
    for name in ("greedy", "random", "narrow", "wide"):
        n = {"narrow": 1e-3, "wide": 99}.get(name)
        sampler = plugins.build(Sampler, {"name": "top_nsigma", "n": n} if n else name)
        how = Generation(sampler, 8, [1, 2], ())
        said[name] = [one.ids for one in opened.generate([[10, 42], [200, 17, 3]], how)]
sampler = plugins.build(Sampler, "top_nsigma")
print(json.dumps([said, str(plugins.host().provenance(sampler)), sampler.n]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a folder into which pip has installed the example, without a network."""
    folder = tmp_path_factory.mktemp("installed")
    copy = folder / "source"
    subprocess.run(["cp", "-r", str(EXAMPLE), str(copy)], check=True)  # setuptools leaves a build/
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    target = ["--no-build-isolation", "--target", str(folder / "site"), str(copy)]
    subprocess.run([*pip, *target], check=True)
    return folder / "site"


def run(site, *argv, cwd=None):
    env = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "TUNESMITH_HOME": str(site / "home")}
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, env=env, capture_output=True, text=True, timeout=580
    )


def test_its_technique_has_25_lines_at_most():
    lines = (EXAMPLE / "tunesmith_top_nsigma.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 25


def test_it_is_listed_and_shown_with_its_distribution(site):
    listed = json.loads(run(site, "-m", "tunesmith.cli", "plugins", "list", "--json").stdout)
    found = {one["name"]: one for one in listed["families"]["Sampler"]}
    assert found["top_nsigma"]["distribution"] == "tunesmith-top-nsigma"
    shown = run(site, "-m", "tunesmith.cli", "plugins", "show", "sampler", "top_nsigma")
    assert "How many standard deviations" in shown.stdout
    doctor = json.loads(run(site, "-m", "tunesmith.cli", "plugins", "doctor", "--json").stdout)
    assert doctor["broken"] == [] and doctor["undocumented"] == [] and doctor["heavy"] == {}


def test_it_is_built_and_a_model_draws_by_it(site):
    done = run(site, "-c", GENERATE)
    said, origin, n = json.loads(done.stdout.splitlines()[-1])
    assert said["narrow"] == said["greedy"]  # a window this small holds the largest logit alone
    assert said["wide"] == said["random"] != said["greedy"]  # one this wide holds them all
    assert origin == "sampler.top_nsigma (tunesmith-top-nsigma 0.1.0)" and n == 1.0


def test_its_own_tests_and_its_contracts_pass(site):
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE), cwd=EXAMPLE)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "26 passed" in done.stdout
