"""A stranger's technique in a real run: one sentence names it, its plugin and its distribution."""

import sys
import threading
import time

import pytest
from plugin_sites import host_of, offer

from tunesmith import plugins, promises, watchdog
from tunesmith.cli.boundary import told
from tunesmith.config import Lifecycle
from tunesmith.errors import ConfigError, PluginError
from tunesmith.techniques import Gate, PairSelector, Sampler

FILTER = """
import sys, time
from pydantic import field_validator
from tunesmith import DatasetFilter, hookimpl

class Odd(DatasetFilter):
    '''Do something wrong.'''
    name = "odd"
    size: int = 1
    '''How much.'''
    BODY

@hookimpl
def register_dataset_filters():
    return [Odd]
"""
WHO = "DatasetFilter 'odd' of the plugin mine (tunesmith-mine 1.2)"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a plugin and makes it known to this process."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def _install(source: str, name: str = "mine") -> plugins.Host:
        offer(site, source, name)
        host = host_of(site)
        monkeypatch.setattr(plugins, "host", lambda: host)
        return host

    return _install


@pytest.fixture
def prepared(install, home, plainly):
    """Return a function that runs `prepare` with a filter whose body is given."""

    def run(body: str) -> dict:
        install(FILTER.replace("BODY", body))
        data = {"sources": [{"name": "nano", "train": 20}], "filters": ["odd"]}
        return plainly(Lifecycle.model_validate({"name": "small", "data": data}))

    return run


class TestAVerb:
    def test_that_works_is_left_alone(self, prepared):
        report = prepared("def apply(self, rows): yield from rows")
        assert report["status"] == "COMPLETED"

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (
                "def apply(self, rows):\n        for row in rows: yield row['nothing']",
                "raised KeyError: 'nothing' in apply, line 12 of tsp_tunesmith_mine.py",
            ),
            (
                "def apply(self, rows): sys.exit('enough')",
                "raised SystemExit ('enough'), which would end the whole run,",
            ),
            ("", "does not define its verb `apply`"),
        ],
        ids=["raises", "exits", "is missing"],
    )
    def test_is_blamed_by_name(self, prepared, body, words):
        with pytest.raises(PluginError) as caught:
            prepared(body)
        assert str(caught.value).startswith(f"The {WHO} {words}")
        assert told(caught.value) == (str(caught.value), 1)

    @pytest.mark.parametrize(
        ("body", "got"),
        [
            ("def apply(self, rows): return 7", "it returned 7"),
            ("def apply(self, rows): yield 'a row'", "it returned 'a row'"),
        ],
    )
    def test_that_returns_the_wrong_thing_is_named_too(self, prepared, body, got):
        with pytest.raises(PluginError) as caught:
            prepared(body)
        said = str(caught.value)
        assert said.startswith(f"The {WHO} must return an iterator of dict from apply(); {got}.")

    def test_is_not_blamed_for_the_error_of_another(self, install, home, plainly):
        install(FILTER.replace("BODY", "def apply(self, rows): yield from rows"))
        data = {"sources": [{"name": "jsonl", "path": "gone.jsonl"}], "filters": ["odd"]}
        with pytest.raises(Exception, match=r"gone\.jsonl") as caught:
            plainly(Lifecycle.model_validate({"name": "small", "data": data}))
        assert "odd" not in str(caught.value)


class TestBuilding:
    def test_a_validator_that_raises_is_a_defect_of_the_plugin(self, install):
        body = (
            "@field_validator('size')\n    @classmethod\n"
            "    def _look(cls, size): raise RuntimeError('no licence')"
        )
        host = install(FILTER.replace("BODY", body))
        with pytest.raises(PluginError) as caught:
            host.build(plugins.FAMILIES[1], {"name": "odd", "size": 2})
        assert f"The {WHO} cannot be built (RuntimeError: no licence)" in str(caught.value)

    def test_a_wrong_option_is_still_the_config_s_fault(self, install):
        host = install(FILTER.replace("BODY", ""))
        with pytest.raises(ConfigError, match=r"odd\.size: expected a valid integer"):
            host.build(plugins.FAMILIES[1], {"name": "odd", "size": "x"})

    def test_a_name_that_is_taken_belongs_to_nobody(self, install):
        host = install(FILTER.replace('"odd"', '"length"').replace("BODY", ""))
        with pytest.raises(PluginError, match=r"mine \(tunesmith-mine 1.2\) and filter.length \(t"):
            host.build(plugins.FAMILIES[1], "length")

    def test_problems_that_are_no_list_are_a_problem_themselves(self, install, home):
        from tunesmith.preflight.built import build_all
        from tunesmith.preflight.outcome import Plan

        install(FILTER.replace("BODY", "def problems(self): return 'bad'"))
        data = {"sources": [{"name": "nano", "train": 5}], "filters": ["odd"]}
        config = Lifecycle.model_validate({"name": "small", "data": data})
        plan = Plan("small", "builtin:nano")
        build_all(config, ["prepare"], plan)
        assert [
            f"The {WHO} must return a list of str from problems(); it returned 'bad'" in str(one)
            for one in plan.problems
        ] == [True]


class TestWhatIsReturned:
    def selector(self, install):
        host = install(
            "from tunesmith import PairSelector, hookimpl\n"
            "class Odd(PairSelector):\n    '''Choose.'''\n    name = 'odd_pair'\n"
            "@hookimpl\ndef register_pair_selectors(): return [Odd]\n"
        )
        return host.build(PairSelector, "odd_pair")

    @pytest.mark.parametrize("places", [(0, 3), (1, 1), (True, 0), "01", (0, 1, 2), 5])
    def test_wrong_positions_of_a_pair_name_the_plugin(self, install, places):
        with pytest.raises(PluginError, match=r"odd_pair.*mine \(tunesmith-mine 1.2\) must return"):
            promises.two_places(self.selector(install), places, 3)

    def test_right_ones_pass(self, install):
        selector = self.selector(install)
        assert promises.two_places(selector, [2, 0], 3) == (2, 0)
        assert promises.two_places(selector, None, 3) is None

    def test_a_scorer_is_checked_for_count_and_finite_numbers(self, install):
        selector = self.selector(install)
        for wrong in ([1.0], [1.0, float("nan")], "no", None):
            with pytest.raises(PluginError, match="from open"):
                promises.scoring(selector, lambda p, c, w=wrong: w)([[], []], ["a", "b"])
        assert promises.scoring(selector, lambda p, c: [1, 2.0])([[], []], ["a", "b"]) == [1, 2.0]
        with pytest.raises(PluginError, match="must return a function"):
            promises.scoring(selector, 7)

    def test_a_sampler_of_the_wrong_shape_is_named_with_its_plugin(self, install):
        import torch

        from tunesmith.errors import ModelError
        from tunesmith.generation.drawing import reshaper

        host = install(
            "from tunesmith import Sampler, hookimpl\n"
            "class Flat(Sampler):\n    '''Flatten.'''\n    name = 'flat'\n"
            "    def __call__(self, logits): return logits[0]\n"
            "@hookimpl\ndef register_samplers(): return [Flat]\n"
        )
        with pytest.raises(ModelError, match=r"'flat' of the plugin mine \(tunesmith-mine 1.2\)"):
            reshaper(host.build(Sampler, "flat"))(torch.zeros(2, 4), [[1], [2]])


HANG = """
import time
from tunesmith import Gate, hookimpl
class Slow(Gate):
    '''Take its time.'''
    name = "slow"
    seconds: float = 0.0
    '''How long.'''
    def decide(self, measurements):
        time.sleep(self.seconds)
@hookimpl
def register_gates(): return [Slow]
"""


class TestAHang:
    def test_of_a_verb_is_spoken_of_once_with_its_plugin(self, install):
        gate, said = install(HANG).build(Gate, {"name": "slow", "seconds": 1.2}), []
        with watchdog.watched(said.append, patience=0.3):
            gate.decide([])
        assert len(said) == 1
        assert said[0].startswith("The Gate 'slow' of the plugin mine (tunesmith-mine 1.2) has not")
        assert "decide()" in said[0] and "Ctrl-C" in said[0]

    def test_is_not_seen_in_many_short_calls_nor_where_progress_is_reported(self, install):
        host, said = install(HANG), []
        short = host.build(Gate, {"name": "slow", "seconds": 0.02})
        with watchdog.watched(said.append, patience=0.4):
            for _ in range(50):
                short.decide([])
        gate = host.build(Gate, {"name": "slow", "seconds": 1.2})
        with watchdog.watched(said.append, patience=0.6) as watch:
            beats = [threading.Timer(0.1 * n, watch.beat) for n in range(12)]
            for beat in beats:
                beat.start()
            gate.decide([])
        assert said == []

    def test_while_loading_names_the_plugin_and_how_to_leave_it_out(self):
        said = []
        with watchdog.loading(said.append, patience=0.2) as doing:
            doing[:] = ["mine (tunesmith-mine 1.2)"]
            time.sleep(0.8)
        assert len(said) == 1 and "TUNESMITH_DISABLE=mine" in said[0]
        assert said[0].startswith("The plugin mine (tunesmith-mine 1.2) has been loading")


def test_a_command_outside_a_run_blames_the_plugin_too(install):
    host = install(HANG.replace("time.sleep(self.seconds)", "return 1 / 0"))
    try:
        host.build(Gate, "slow").decide([])
    except ZeroDivisionError as error:
        message, code = told(error)
    assert code == 1
    assert "Gate 'slow' of the plugin mine (tunesmith-mine 1.2) raised ZeroDivisionError" in message
    assert "tsp_tunesmith_mine" in sys.modules
