"""The plugin host: strangers are let in by the built-ins' door, and none can break it."""

import json
import re
import sys
import textwrap
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

import tunesmith as ts
from tunesmith import hookspecs, plugins, settings
from tunesmith.errors import ConfigError, PluginError
from tunesmith.techniques import FAMILIES, Sampler

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = [name for name, one in vars(hookspecs).items() if hasattr(one, "tunesmith_spec")]

PLUGIN = """
from tunesmith import {family}, hookimpl

class Mine({family}):
    '''A technique of a stranger.'''
    name = "mine"
    strength: float = 1.0
    '''How much.'''

@hookimpl
def {hook}():
    return [Mine]
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Give every test a home, and a host of its own."""
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    forget = plugins.host.cache_clear
    forget()
    yield
    forget()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a distribution of one module, and loads its plugins."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def _install(source: str, name: str = "mine", dist: str | None = None) -> plugins.Host:
        dist = dist or f"tunesmith-{name}"
        module = f"tsp_{re.sub(r'[^a-z0-9]', '_', dist)}"
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        info = site / f"{dist.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[tunesmith]\n{name} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        return load(site)

    return _install


def load(site: Path, disabled: frozenset = frozenset()) -> plugins.Host:
    """Load what is installed in a folder, and nothing else."""
    found = [e for d in distributions(path=[str(site)]) for e in d.entry_points]
    return plugins.load(sorted(found, key=plugins._order), set(disabled))


FAMILY_OF = {
    "register_dataset_sources": ts.DatasetSource,
    "register_dataset_filters": ts.DatasetFilter,
    "register_tasks": ts.Task,
    "register_prompt_styles": ts.PromptStyle,
    "register_adapters": ts.Adapter,
    "register_training_methods": ts.TrainingMethod,
    "register_samplers": ts.Sampler,
    "register_pair_selectors": ts.PairSelector,
    "register_feedback_sources": ts.FeedbackSource,
    "register_reward_models": ts.RewardModel,
    "register_distillers": ts.Distiller,
    "register_quantizers": ts.Quantizer,
    "register_accelerators": ts.Accelerator,
    "register_engines": ts.Engine,
    "register_evaluators": ts.Evaluator,
    "register_gates": ts.Gate,
    "register_deployers": ts.Deployer,
}
FACTS = {
    "run_started": {"run": {"id": "a-0001", "name": "a"}},
    "run_finished": {"run": {"id": "a-0001", "name": "a"}, "error": None},
    "stage_started": {"run": {"id": "a-0001", "name": "a"}, "stage": "tune"},
    "stage_finished": {
        "run": {"id": "a-0001", "name": "a"},
        "stage": "tune",
        "artifact": "model-1",
        "cached": False,
    },
    "preference_recorded": {"preference": {"pair": "1", "verdict": "tie"}},
    "model_registered": {"version": {"model": "a", "version": 1}},
    "model_promoted": {"alias": "production", "version": {"model": "a", "version": 1}},
}


class TestEveryHook:
    def test_is_tested_here(self):
        assert set(FAMILY_OF) | set(FACTS) == set(HOOKS)

    @pytest.mark.parametrize("hook", HOOKS)
    def test_is_documented(self, hook):
        line = next(line for line in DOC.splitlines() if line.startswith(f"| `{hook}("))
        assert (hookspecs.__dict__[hook].__doc__ or "").strip() in line
        if hook in FACTS:
            assert f"`{hook}({', '.join(FACTS[hook])})`" in line
        else:
            assert f"`{FAMILY_OF[hook].family}`" in line
            assert f"\n### {FAMILY_OF[hook].family}\n" in DOC

    @pytest.mark.parametrize("hook", FAMILY_OF)
    def test_of_a_family_takes_in_a_stranger_s_class(self, install, hook):
        family = FAMILY_OF[hook]
        host = install(PLUGIN.format(family=family.family, hook=hook))
        assert host.broken == []
        assert host.build(family, {"name": "mine", "strength": 2}).strength == 2.0
        assert str(host.provenance(host.find(family, "mine"))) == "mine (tunesmith-mine 1.2)"

    @pytest.mark.parametrize("event", FACTS)
    def test_that_reports_reaches_a_plugin_and_cannot_end_the_run(
        self, install, monkeypatch, caplog, event
    ):
        names = ", ".join(FACTS[event])
        host = install(
            f"""
            from tunesmith import hookimpl
            seen = []

            @hookimpl
            def {event}({names}):
                seen.append([{names}])
                raise SystemExit("I want this to end")
            """
        )
        monkeypatch.setattr(plugins, "host", lambda: host)
        plugins.announce(event, **FACTS[event])
        assert sys.modules["tsp_tunesmith_mine"].seen == [list(FACTS[event].values())]
        assert f"Plugin mine raised in {event}" in caplog.text

    def test_that_reports_may_take_fewer_arguments(self, install, monkeypatch):
        host = install(
            """
            from tunesmith import hookimpl
            seen = []

            @hookimpl
            def stage_finished(stage):
                seen.append(stage)
            """
        )
        monkeypatch.setattr(plugins, "host", lambda: host)
        plugins.announce("stage_finished", **FACTS["stage_finished"])
        assert sys.modules["tsp_tunesmith_mine"].seen == ["tune"]


class TestBuiltIns:
    def test_come_in_by_the_same_door_and_all_load(self):
        host = plugins.load(disabled=set())
        own = [e for e in plugins.installed() if e.dist and e.dist.name == "tunesmith"]
        assert own and {e.name for e in own} <= set(host.distributions)
        assert host.conflicts == {}

    def test_every_one_has_a_docstring_and_every_option_too(self):
        from tunesmith.cli.plugin_health import undocumented

        assert list(undocumented(plugins.host())) == []

    @pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
    def test_of_every_family_are_described_by_a_page(self, family):
        from tunesmith.cli.plugin_pages import facts

        for name in plugins.host().available(family):
            found = facts(family, name)
            assert json.loads(json.dumps(found))["source"].endswith(".py")

    def test_one_can_be_replaced_by_disabling_it(self, install, tmp_path):
        install(
            PLUGIN.format(family="Sampler", hook="register_samplers").replace('"mine"', '"greedy"')
        )
        host = plugins.load(disabled={"sampler.greedy"})
        assert host.provenance(host.find(Sampler, "greedy")).distribution == "tunesmith-mine"


class TestWrongNamesAndOptions:
    def test_an_unknown_name_gets_the_nearest_and_all(self):
        with pytest.raises(PluginError) as caught:
            plugins.load(disabled=set()).find(Sampler, "minp")
        message = str(caught.value)
        assert message.startswith("No Sampler is named 'minp'. Did you mean 'min_p'? Installed:")
        assert "top_k" in message

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ({"name": "mine", "strenght": 2}, "mine has no option 'strenght'. Did you mean 'stren"),
            ({"name": "mine", "strength": "x"}, "mine.strength: expected a valid number; got 'x'."),
            ({"strength": 2}, "A Sampler needs a name, e.g. {name: ...}"),
            ({"name": 3}, "A Sampler needs a name"),
        ],
    )
    def test_wrong_options_say_what_would_be_right(self, install, spec, words):
        host = install(PLUGIN.format(family="Sampler", hook="register_samplers"))
        with pytest.raises(ConfigError) as caught:
            host.build(Sampler, spec)
        assert words in str(caught.value)

    def test_a_missing_option_is_named(self, install):
        source = PLUGIN.format(family="Sampler", hook="register_samplers")
        host = install(source.replace("strength: float = 1.0", "strength: float"))
        with pytest.raises(ConfigError, match="mine needs the option 'strength'"):
            host.build(Sampler, "mine")


GOOD = PLUGIN.format(family="Sampler", hook="register_samplers")
BAD = {
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "exits": ("import sys; sys.exit('goodbye')", "SystemExit: goodbye"),
    "lacks a module": ("import not_there_at_all", "No module named 'not_there_at_all'"),
    "has a syntax error": ("def (", "SyntaxError"),
    "misspells a hook": (
        GOOD.replace("register_samplers", "register_sampler"),
        "There is no hook 'register_sampler'. Did you mean 'register_samplers'?",
    ),
    "asks for an argument there is not": (
        "from tunesmith import hookimpl\n@hookimpl\ndef run_started(runs): pass",
        "runs",
    ),
    "implements nothing": ("x = 1", "it implements no hook"),
    "returns a class, not a list": (GOOD.replace("[Mine]", "Mine"), "e.g. [Mine]"),
    "returns nothing": (GOOD.replace("return [Mine]", "pass"), "must return a list"),
    "returns another family": (
        GOOD.replace("import Sampler", "import Sampler, Gate").replace(
            "class Mine(Sampler)", "class Mine(Gate)"
        ),
        "register_samplers must return Sampler classes",
    ),
    "has no name": (GOOD.replace('name = "mine"', ""), "Mine has no name"),
    "raises in its hook": (GOOD.replace("return [Mine]", "raise OSError('no disk')"), "no disk"),
    "exits in its hook": (GOOD.replace("return [Mine]", "raise SystemExit(3)"), "SystemExit: 3"),
    "has an option pydantic cannot take": (
        GOOD.replace("strength: float = 1.0", "strength: Undefined = 1.0"),
        "",
    ),
}


class TestBrokenPlugins:
    @pytest.mark.parametrize("kind", BAD)
    def test_one_that_is_broken_is_reported_and_the_others_work(self, install, kind, caplog):
        source, words = BAD[kind]
        install(GOOD.replace('"mine"', '"fine"'), "fine")
        host = install(source, "bad")
        if kind == "has an option pydantic cannot take":
            # pydantic finds out when the technique is built, not before.
            with pytest.raises((PluginError, ConfigError)):
                host.build(Sampler, "mine")
        else:
            assert [b.plugin for b in host.broken] == ["bad"]
            assert words in host.broken[0].error
            assert "Plugin bad (tunesmith-bad) is skipped" in caplog.text
        assert host.build(Sampler, "fine").name == "fine"

    def test_a_traceback_is_kept(self, install):
        host = install("raise RuntimeError('no licence')", "bad")
        assert "Traceback" in host.broken[0].traceback
        assert "no licence" in host.broken[0].traceback

    def test_a_technique_whose_plugin_failed_says_so(self, install):
        host = install("raise RuntimeError('no licence')", "sampler.soft")
        with pytest.raises(PluginError, match=r"The plugin sampler.soft failed: .*no licence"):
            host.find(Sampler, "soft")

    def test_what_it_prints_while_loading_stays_off_stdout(self, install, capsys):
        install("print('hello from a stranger')\n" + GOOD)
        assert capsys.readouterr().out == ""

    def test_one_that_imports_torch_to_be_listed_is_named(self, install, monkeypatch, tmp_path):
        (tmp_path / "site-packages" / "peft.py").touch()
        real = {name for name in sys.modules if name.split(".")[0] == "peft"}
        for name in real:
            monkeypatch.delitem(sys.modules, name)
        assert install("import peft\n" + GOOD).heavy == {"mine": ["peft"]}
        # The stand-in must not outlive this test: undoing restores only what was there before.
        del sys.modules["peft"]


class TestDuplicates:
    def twice(self, install):
        install(GOOD, "first")
        return install(GOOD, "second")

    def test_a_name_offered_twice_names_both_when_it_is_used(self, install):
        host = self.twice(install)
        with pytest.raises(PluginError) as caught:
            host.find(Sampler, "mine")
        message = str(caught.value)
        assert "first (tunesmith-first 1.2) and second (tunesmith-second 1.2)" in message
        assert "tunesmith plugins disable second" in message

    def test_everything_else_still_works(self, install):
        install(GOOD.replace('"mine"', '"other"'), "third")
        assert self.twice(install).build(Sampler, "other").name == "other"

    def test_disabling_one_settles_it(self, install, tmp_path):
        self.twice(install)
        host = load(tmp_path / "site-packages", {"second"})
        assert host.provenance(host.find(Sampler, "mine")).plugin == "first"

    def test_three_offers_are_all_named(self, install):
        self.twice(install)
        host = install(GOOD, "third")
        with pytest.raises(PluginError, match=r"3 plugins offer .*first .*second .*third"):
            host.find(Sampler, "mine")

    def test_two_plugins_of_one_name_are_told_apart_by_their_distributions(self, install):
        install(GOOD, "same", dist="tunesmith-one")
        host = install(GOOD.replace('"mine"', '"other"'), "same", dist="tunesmith-two")
        assert host.build(Sampler, "mine")
        assert "tunesmith-one has it, and tunesmith-two wants it" in host.broken[0].error


class TestDisabling:
    @pytest.mark.parametrize("name", ["mine", "tunesmith-mine", "tunesmith_mine", "MINE"])
    def test_a_plugin_or_its_distribution_can_be_disabled(self, install, tmp_path, name):
        install(GOOD)
        host = load(tmp_path / "site-packages", {name})
        assert host.disabled == ["mine"] and host.techniques["Sampler"] == {}

    def test_the_note_on_an_unknown_name_says_what_is_disabled(self, install, tmp_path):
        install(GOOD)
        host = load(tmp_path / "site-packages", {"mine"})
        with pytest.raises(PluginError, match="Note: mine is disabled"):
            host.find(Sampler, "mine")

    def test_a_disabled_plugin_is_never_imported(self, install, tmp_path):
        site = tmp_path / "site-packages"
        install("raise RuntimeError", "bad")
        assert load(site, {"bad"}).broken == []

    def test_the_setting_is_kept_and_taken_back(self):
        settings.set_plugin("sampler.top_k", enabled=False)
        assert "top_k" not in plugins.load().available(Sampler)
        settings.set_plugin("sampler.top-k", enabled=True)
        assert "top_k" in plugins.load().available(Sampler)

    def test_the_environment_disables_for_one_process(self, monkeypatch):
        monkeypatch.setenv("TUNESMITH_DISABLE", "sampler.top_k, sampler.min_p")
        assert not {"top_k", "min_p"} & set(plugins.load().available(Sampler))

    def test_a_damaged_setting_says_which_file(self):
        path = settings.home().prepare().plugin_settings
        path.write_text("{")
        with pytest.raises(ts.TunesmithError, match=re.escape(str(path))):
            settings.disabled_plugins()


def test_an_entry_point_without_a_distribution_is_loaded_too(install):
    install(GOOD)
    host = plugins.load([EntryPoint("loose", "tsp_tunesmith_mine", "tunesmith")], set())
    assert host.provenance(host.find(Sampler, "mine")).distribution == "unknown"
