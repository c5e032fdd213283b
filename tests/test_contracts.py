"""The contract kit: each way to break a promise gets its sentence, and the others go on."""

import json
import re
import subprocess
import sys

import pytest
from plugin_sites import offer

from tunesmith.contracts import check
from tunesmith.contracts.catalogue import SPECIFIC, contracts_of
from tunesmith.errors import PluginError
from tunesmith.techniques import FAMILIES

HEAD = """
import math, os, random, sys, time
from contextlib import contextmanager
from pathlib import Path
from pydantic import ConfigDict, Field
from tunesmith import *
from tunesmith import (
    Completion, Evidence, Label, Measurement, Outcome, Score, Verdict, hookimpl,
)
"""
# name: (family, body, contract, what the sentence says)
BROKEN = {
    "BadName": ("Gate", "", "has_a_plain_name", "use lower-case letters"),
    "mute": ("Gate", "size: int = 1", "explains_its_options", "does not explain its option 'size'"),
    "thawed": (
        "Gate",
        "model_config = ConfigDict(frozen=False)",
        "is_frozen",
        "leave `frozen=True` in its model_config",
    ),
    "lenient": (
        "Gate",
        "model_config = ConfigDict(extra='ignore')",
        "refuses_unknown_options",
        "accepts options that it does not have",
    ),
    "wanting": (
        "Gate",
        'least: float\n    "How much."',
        "can_be_built",
        "needs the option 'least', and the kit does not know a value for it; give an example",
    ),
    "own_limits": (
        "Gate",
        'size: int = Field(default=0, ge=1)\n    "How many."',
        "comes_back_from_its_dict",
        "refuses its own options",
    ),
    "wordless": (
        "Gate",
        "def problems(self): return 'all is bad'",
        "lists_its_problems",
        "must return a list of sentences from problems()",
    ),
    "needy": ("Gate", "needs = 'peft'", "names_what_it_needs", "must name modules in a tuple"),
    "yes_man": (
        "Gate",
        "def decide(self, m): return Verdict('all', True, 'sure')",
        "passes_nothing_unmeasured",
        "passes although nothing was measured",
    ),
    "boolean": (
        "Gate",
        "def decide(self, m): return True",
        "decides",
        "must return a tunesmith.Verdict; it returned True",
    ),
    "verbless": ("Gate", "", "decides", "does not define its verb `decide`"),
    "careless": (
        "Gate",
        "def decide(self, m): return m[0].nothing",
        "decides",
        "raised AttributeError: 'Measurement' object has no attribute 'nothing' in decide, line",
    ),
    "deaf": (
        "Gate",
        "def decide(self): return None",
        "decides",
        "cannot be called the way its family is (TypeError",
    ),
    "quitter": (
        "Gate",
        "def decide(self, m): sys.exit(3)",
        "decides",
        "raised SystemExit (3), which would end the whole run",
    ),
    "vague": (
        "Sampler",
        "def lacks(self): return 'a GPU'",
        "keeps_the_shape",
        "must return a list of sentences from lacks(); it returned 'a GPU'",
    ),
    "empty_source": ("DatasetSource", "def rows(self): yield from ()", "yields_rows", "no row"),
    "odd_source": (
        "DatasetSource",
        "def rows(self): yield {'frage': 'Was?'}",
        "yields_rows",
        "no row type fits the columns frage",
    ),
    "restless_source": (
        "DatasetSource",
        "def rows(self): yield {'text': str(random.random())}",
        "yields_them_again",
        "yields other rows when it is asked again",
    ),
    "shuffler": (
        "DatasetFilter",
        "def apply(self, rows): return iter(list(rows)[::-1])",
        "keeps_rows_in_order",
        "changes the order of the rows",
    ),
    "greedy_reader": (
        "DatasetFilter",
        "def apply(self, rows): yield from list(rows)",
        "is_lazy",
        "reads every row before it yields one",
    ),
    "scribbler": (
        "DatasetFilter",
        "def apply(self, rows):\n        for row in rows:\n"
        "            row['seen'] = True\n            yield row",
        "leaves_rows_alone",
        "changed row 0 in place",
    ),
    "overscorer": (
        "Task",
        "def score(self, row, answer): return Score(float(len(answer)), False)",
        "scores_answers",
        "a value is in 0 to 1",
    ),
    "fragile": (
        "Task",
        "def score(self, row, answer): return Score(float(answer[0] == 'T'), True)",
        "survives_any_answer",
        "raised IndexError (string index out of range) for the answer ''",
    ),
    "preacher": (
        "PromptStyle",
        "def messages(self, task, row, shots):\n"
        "        return [{'role': 'user', 'content': task.question(row)},"
        " {'role': 'assistant', 'content': 'Well.'}]",
        "ends_with_the_user",
        "ends with assistant",
    ),
    "narcissist": (
        "PairSelector",
        "def choose(self, answers, rng): return (0, 2)",
        "chooses_two_answers",
        "hold the same answer",
    ),
    "far_out": (
        "PairSelector",
        "def choose(self, answers, rng): return (0, len(answers))",
        "chooses_two_answers",
        "chose position 5 of 5 answers",
    ),
    "gambler": (
        "PairSelector",
        "def choose(self, answers, rng):\n"
        "        return (0, 1) if random.random() < 0.5 else (3, 1)",
        "chooses_by_its_rng",
        "draw from the rng it is given",
    ),
    "novel_verdict": (
        "FeedbackSource",
        "def judge(self, pairs, seed): return [Label(p.id, 'me', 'frist') for p in pairs]",
        "labels_pairs",
        "Did you mean 'first'?",
    ),
    "nan_worth": (
        "FeedbackSource",
        "def judge(self, pairs, seed): return [Label(p.id, 'me', 'tie') for p in pairs]\n"
        "    def utility(self, pair, answer): return math.nan",
        "knows_worth_or_not",
        "says an answer is worth nan",
    ),
    "dream": (
        "Evaluator",
        "def measure(self, evidence): return [Measurement('a', 'base', 2.0, 0.0, 1.0, 5)]",
        "measures",
        "outside its own [0.0, 1.0]",
    ),
    "mover": (
        "Deployer",
        "def deploy(self, bundle):\n"
        "        bundle.rename(bundle.with_name('gone'))\n        return {'path': 'gone'}",
        "leaves_the_bundle_alone",
        "changed or moved the bundle",
    ),
    "wrong_shape": (
        "Sampler",
        "def __call__(self, logits): return logits[0]",
        "keeps_the_shape",
        "it returned (50,)",
    ),
    "half": (
        "Sampler",
        "def __call__(self, logits): return logits.half()",
        "keeps_the_type",
        "must return float32 for float32",
    ),
    "not_a_number": (
        "Sampler",
        "def __call__(self, logits): return logits / logits.std(-1, keepdim=True)",
        "gives_numbers",
        "returned NaN or +inf for flat logits",
    ),
    "ruler_out": (
        "Sampler",
        "def __call__(self, logits): return logits.masked_fill(logits > -99, float('-inf'))",
        "leaves_a_token",
        "ruled out every token of row 0",
    ),
    "in_place": (
        "Sampler",
        "def __call__(self, logits): return logits.div_(2)",
        "leaves_its_input_alone",
        "changed the logits it was given",
    ),
    "company": (
        "Sampler",
        "def __call__(self, logits): return logits - logits.mean()",
        "treats_rows_apart",
        "reduce over the last dimension only",
    ),
    "moody": (
        "Sampler",
        "def __call__(self, logits): return logits * random.random()",
        "gives_the_same_again",
        "gave another result for the same logits",
    ),
}


_SAVED = "save_model(m, load_tokenizer(job.model_dir), job.out); return Outcome()"
BROKEN_ON_MODELS = {
    "frozen_stiff": (
        "Adapter",
        "def wrap(self, model): return model.requires_grad_(False)",
        "wraps_a_model",
        "leaves nothing to learn",
    ),
    "bad_merge": (
        "Adapter",
        "def wrap(self, model): return model\n"
        "    def merge(self, model):\n"
        "        next(model.parameters()).data.mul_(1.5)\n        return model",
        "merges_what_it_learnt",
        "merges into a model whose logits differ by",
    ),
    "untyped": ("TrainingMethod", "rows_type = 'chat'", "names_its_rows", "rows_type is 'chat'"),
    "wordless_method": (
        "TrainingMethod",
        "rows_type = 'preference'\n    def train(self, job): pass",
        "trains",
        "train() must return a tunesmith.Outcome; it returned None",
    ),
    "writes_nothing": (
        "TrainingMethod",
        "rows_type = 'prompt-only'\n    def train(self, job): return Outcome()",
        "trains",
        "left no model that can be loaded in job.out",
    ),
    "nan_metric": (
        "TrainingMethod",
        "rows_type = 'prompt-only'\n    def train(self, job): return Outcome({'loss': math.nan})",
        "trains",
        "says its metric 'loss' is nan",
    ),
    "idle": (
        "TrainingMethod",
        "rows_type = 'language-modelling'\n    def train(self, job):\n"
        f"        m = load_model(job.model_dir)\n        {_SAVED}",
        "trains",
        "left the weights as they were",
    ),
    "dicey": (
        "TrainingMethod",
        "rows_type = 'prompt-completion'\n    def train(self, job):\n"
        "        m = load_model(job.model_dir)\n"
        "        for p in m.parameters(): p.data.add_(random.random())\n"
        f"        {_SAVED}",
        "trains_the_same_again",
        "gives other weights for the same job and seed",
    ),
    "one_score": (
        "RewardModel",
        "def fit(self, job): return Outcome()\n"
        "    def open(self, folder): return lambda prompts, completions: [0.5]",
        "scores_completions",
        "gave 1 scores for 12 completions",
    ),
    "indifferent": (
        "RewardModel",
        "def fit(self, job): return Outcome()\n"
        "    def open(self, folder): return lambda prompts, texts: [0.5 for _ in texts]",
        "scores_completions",
        "gives every completion the same score",
    ),
    "relative": (
        "RewardModel",
        "def fit(self, job): return Outcome()\n"
        "    def open(self, folder):\n"
        "        return lambda prompts, texts: [float(n) for n, _ in enumerate(texts)]",
        "scores_each_alone",
        "gives one completion two scores",
    ),
    "pickler": (
        "RewardModel",
        "def fit(self, job):\n        (job.out / 'weights.pkl').write_bytes(b'')\n"
        "        return Outcome()",
        "scores_completions",
        "wrote weights.pkl; a pickle runs code",
    ),
    "copycat": (
        "Distiller",
        "def distil(self, teacher, job):\n"
        "        import shutil\n"
        "        shutil.copytree(teacher, job.out, dirs_exist_ok=True)\n        return Outcome()",
        "distils",
        "copied the teacher",
    ),
    "weightless": (
        "Quantizer",
        "def quantize(self, model_dir, out):\n"
        "        (out / 'file').touch()\n        return Outcome()",
        "says_what_it_weighs",
        "metrics['bytes'] is None",
    ),
    "orphan": (
        "Quantizer",
        "engine = 'warp'\n    def quantize(self, model_dir, out): return Outcome()",
        "is_run_by_its_engine",
        "names the engine 'warp'. No Engine is named 'warp'",
    ),
    "misfit": (
        "Accelerator",
        "engine = 'llamacpp'\n    def options(self): return {'warp': 9}",
        "sets_engine_options",
        "does not take what misfit sets: warp",
    ),
    "idler": (
        "Accelerator",
        "engine = 'llamacpp'\n    def options(self): return {}",
        "sets_engine_options",
        "sets nothing",
    ),
    "reads_all": ("Engine", "def reads(self, m): return True", "knows_what_it_reads", "an empty"),
    "parrot": (
        "Engine",
        "def reads(self, model): return any(model.glob('*.safetensors'))\n"
        "    @contextmanager\n    def open(self, model): yield Parrot()",
        "says_what_the_model_says",
        "the model says [",
    ),
    "contextless": (
        "Engine",
        "def reads(self, model): return any(model.glob('*.safetensors'))\n"
        "    def open(self, model): return Parrot()",
        "answers_prompts",
        "must return a context manager from open()",
    ),
    "stutterer": (
        "Engine",
        "def reads(self, model): return any(model.glob('*.safetensors'))\n"
        "    @contextmanager\n    def open(self, model): yield Stutterer()",
        "streams_what_it_generates",
        "streams [5, 5] and generates [5]",
    ),
}
PARROT = """
class Parrot:
    def generate(self, prompts, how):
        return [Completion([5], "x", "length") for _ in prompts]

class Stutterer(Parrot):
    def stream(self, prompt, how, top=None):
        for _ in range(2):
            yield Token(5, -1.0, ((5, -1.0), (6, -2.0)))
"""


def source(broken: dict) -> str:
    """Return a module with every broken technique in it."""
    parts, hooks = [HEAD, PARROT], {}
    for name, (family, body, *_) in broken.items():
        head = f"class T_{name}({family}):\n    '''Break a promise.'''\n    name = {name!r}\n"
        parts.append(f"{head}    {body}\n")
        hooks.setdefault(family, []).append(f"T_{name}")
    for family in FAMILIES:
        if family.family in hooks:
            offered = ", ".join(hooks[family.family])
            parts.append(f"@hookimpl\ndef {family.hook}(): return [{offered}]\n")
    return "\n".join(parts)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder on the path in which plugins can be installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Return the report on the module of broken techniques; one process tries them all."""
    folder = tmp_path_factory.mktemp("broken")
    offer(folder, source(BROKEN), "broken")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return check("tunesmith-broken")


@pytest.fixture(scope="module")
def broken_on_models(tmp_path_factory):
    """Return the report on the techniques that are tried on a tiny model."""
    folder = tmp_path_factory.mktemp("broken_on_models")
    offer(folder, source(BROKEN_ON_MODELS), "lame")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return check("tunesmith-lame")


@pytest.mark.parametrize("name", BROKEN_ON_MODELS)
def test_every_breakage_on_a_model_gets_its_sentence(broken_on_models, name):
    _, _, contract, words = BROKEN_ON_MODELS[name]
    found = [r for r in broken_on_models.results if (r.technique, r.contract) == (name, contract)]
    assert [r.outcome for r in found] == ["broken"], [r.sentence for r in found]
    assert words in found[0].sentence
    assert "(plugin lame of tunesmith-lame 1.2)" in str(found[0])


def test_every_family_has_a_broken_technique():
    families = {family for family, *_ in [*BROKEN.values(), *BROKEN_ON_MODELS.values()]}
    assert families == {family.family for family in FAMILIES}


class TestEveryBreakage:
    @pytest.mark.parametrize("name", BROKEN)
    def test_gets_its_sentence(self, broken, name):
        _, _, contract, words = BROKEN[name]
        found = [r for r in broken.results if (r.technique, r.contract) == (name, contract)]
        assert [r.outcome for r in found] == ["broken"], [r.sentence for r in found]
        assert words in found[0].sentence
        family = found[0].family
        assert str(found[0]).startswith(
            f"{family} {name!r} (plugin broken of tunesmith-broken 1.2) "
        )
        assert str(found[0]).endswith(".") and "\n" not in str(found[0])

    def test_leaves_the_other_techniques_tried(self, broken):
        tried = {result.technique for result in broken.results}
        assert tried == set(BROKEN)
        assert not broken.passed

    def test_of_one_promise_leaves_its_other_promises_kept(self, broken):
        kept = {r.contract for r in broken.results if r.technique == "in_place"} - {
            r.contract for r in broken.broken if r.technique == "in_place"
        }
        assert {"keeps_the_shape", "gives_numbers", "is_frozen"} <= kept


GOOD = """
from tunesmith import Gate, Verdict, hookimpl

class Fine(Gate):
    '''Pass nothing.'''
    name = "fine"
    def decide(self, measurements):
        return Verdict("fine", False, "never")

@hookimpl
def register_gates():
    return [Fine, *OTHERS]
"""
HANG = """
import os, time
class Other(Gate):
    '''Never come back.'''
    name = "other"
    def decide(self, measurements):
        ACTION
OTHERS = [Other]
"""


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("time.sleep(1000)", "did not return within 2 s, so it was stopped"),
        ("os._exit(7)", "ended the whole process (exit code 7)"),
        ("os.kill(os.getpid(), 11)", "ended the whole process (signal SIGSEGV)"),
    ],
    ids=["hangs", "exits", "crashes"],
)
def test_a_verb_that_does_not_come_back_is_stopped_and_the_next_technique_goes_on(
    site, action, words
):
    name = f"lost{len(action)}"
    offer(site, GOOD + HANG.replace("ACTION", action), name)
    report = check(f"tunesmith-{name}", timeout=2)
    lost = [r for r in report.results if r.technique == "other" and r.contract == "decides"]
    assert words in lost[0].sentence
    assert all(r.outcome == "kept" for r in report.results if r.technique == "fine")


def test_a_module_that_hangs_while_it_is_imported_is_named(site):
    (site / "sleepy_module.py").write_text("import time; time.sleep(1000)")
    report = check("sleepy_module", timeout=1)
    assert not report.passed and report.results == []
    assert "sleepy_module did not return within" in report.sentences()[0]


def test_a_plugin_that_cannot_be_loaded_is_named_with_its_distribution(site):
    offer(site, "raise RuntimeError('no licence')", "locked")
    assert check("tunesmith-locked").sentences() == [
        "The plugin locked of tunesmith-locked cannot be loaded: RuntimeError: no licence."
    ]


def test_a_name_that_a_built_in_has_is_taken(site):
    offer(site, GOOD.replace('"fine"', '"at_most"') + "\nOTHERS = []", "namesake")
    (broken,) = check("tunesmith-namesake").broken
    assert broken.contract == "has_a_free_name"
    assert "gate.at_most (tunesmith " in broken.sentence


def test_importing_torch_to_be_listed_is_a_breach(site):
    offer(site, "import torch\n" + GOOD + "\nOTHERS = []", "heavy")
    broken = {one.contract: one.sentence for one in check("tunesmith-heavy").broken}
    assert "imports torch" in broken["is_listed_lightly"]


def test_options_are_taken_from_examples_and_from_whoever_asks(site):
    source = GOOD.replace(
        'name = "fine"',
        'name = "fine"\n    least: float = Field(examples=[0.5])\n    "How much."',
    )
    offer(site, "from pydantic import Field\n" + source + "\nOTHERS = []", "choosy")
    assert check("tunesmith-choosy").passed
    (first, *_) = check("tunesmith-choosy", {"fine": {"least": "much"}}).broken
    assert "fine.least: expected a valid number" in first.sentence


def test_what_the_machine_lacks_skips_what_would_run_and_nothing_else(site):
    body = (
        HEAD
        + """
class Far(Sampler):
    "Needs another machine."
    name = "far"
    def lacks(self): return ["there is no quantum computer here."]
@hookimpl
def register_samplers(): return [Far]
"""
    )
    offer(site, body, "far")
    report = check("tunesmith-far")
    skipped = {r.contract: r.sentence for r in report.results if r.outcome == "skipped"}
    assert report.passed
    assert skipped["keeps_the_shape"] == (
        "cannot run on this machine: there is no quantum computer here"
    )
    assert "has_a_docstring" not in skipped


def test_what_does_not_exist_gets_the_nearest_name():
    with pytest.raises(PluginError, match=r"Did you mean 'sampler.min_p'\?"):
        check("sampler.minp")
    with pytest.raises(PluginError, match="offers no plugin: it has no entry point"):
        check("typing-extensions")


class TestTheCatalogue:
    def test_has_promises_of_every_family(self):
        assert set(SPECIFIC) == {family.family for family in FAMILIES}
        assert all(len(SPECIFIC[family.family]) >= 2 for family in FAMILIES)

    @pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.family)
    def test_says_every_promise_in_a_line(self, family):
        promises = [one.promise for one in contracts_of(family)]
        assert all(15 < len(one) < 100 for one in promises)
        assert len({one.name for one in contracts_of(family)}) == len(promises)


LIGHT = {
    "source.nano": {"nano": {"train": 5}},
    "filter.length": {},
    "filter.exact_dedup": {},
    "task.maths_reasoning": {},
    "prompt.few_shot": {},
    "pairs.random": {},
    "feedback.simulated": {},
    "evaluator.task_scores": {},
    "evaluator.win_rate": {},
    "gate.not_worse": {"not_worse": {"model": "tuned", "baseline": "base"}},
}


@pytest.mark.parametrize("plugin", LIGHT)
def test_built_in_techniques_keep_the_promises_too(plugin):
    assert check(plugin, LIGHT[plugin]).sentences() == []


class TestThePytestPlugin:
    def run(self, site, folder, *argv):
        env = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *argv],
            cwd=folder, env=env, capture_output=True, text=True,
        )  # fmt: skip

    def test_makes_every_promise_a_test(self, site, tmp_path):
        offer(site, GOOD + "\nOTHERS = []", "quiet")
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\ntunesmith_contract = tunesmith-quiet\ntestpaths = .\n"
        )
        done = self.run(site, tmp_path)
        count = len(contracts_of(next(f for f in FAMILIES if f.family == "Gate")))
        assert f"{count} passed" in done.stdout and done.returncode == 0

    def test_shows_the_sentence_and_what_was_promised(self, site, tmp_path):
        source = GOOD.replace("False, ", "True, ")
        offer(site, source + "\nOTHERS = []", "lavish")
        done = self.run(site, tmp_path, "--tunesmith-contract", "tunesmith-lavish", "-k", "passes")
        assert done.returncode == 1
        assert (
            "Gate 'fine' (plugin lavish of tunesmith-lavish 1.2) passes although nothing was"
            " measured; missing evidence never passes.\n"
            "Its family promises: Without measurements it does not pass.\n" in done.stdout
        )
        assert "2 failed" in done.stdout and "Traceback" not in done.stdout

    def test_refuses_what_does_not_exist(self, site, tmp_path):
        done = self.run(site, tmp_path, "--tunesmith-contract", "nothing_of_that_name")
        assert done.returncode == 4
        assert "No installed distribution, plugin or module is named" in done.stderr


class TestTheCommand:
    def test_writes_one_json_document_and_fails_on_a_breach(self, site, capfd, monkeypatch):
        from tunesmith.cli import main

        offer(site, GOOD.replace("False, ", "True, ") + "\nOTHERS = []\nprint('noise')", "loud")
        assert main(["plugins", "test", "tunesmith-loud", "--json"]) == 1
        found = json.loads(capfd.readouterr().out)
        broken = [r["contract"] for r in found["results"] if r["outcome"] == "broken"]
        assert broken == ["passes_nothing_unmeasured", "passes_no_nan"]
        assert found["passed"] is False

    def test_says_it_in_words(self, site, capfd):
        from tunesmith.cli import main

        assert main(["plugins", "test", "pairs.random"]) == 0
        said = capfd.readouterr().out
        assert re.search(r"PairSelector 'random' \(plugin pairs.random of tunesmith [\d.]+\)", said)
        assert "Every contract that could be tried is kept." in said

    def test_takes_options(self, capfd):
        from tunesmith.cli import main

        assert main(["plugins", "test", "filter.length", "--set", "length.min_text=-1"]) == 1
        assert "length.min_text: expected greater than or equal to 0" in re.sub(
            r"\s+", " ", capfd.readouterr().out.replace("Input should be", "expected")
        )
        assert main(["plugins", "test", "filter.length", "--set", "length=1"]) == 2
