"""The fastest engine is found by measurement, kept, and settled when a run is planned."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model

from tunesmith import Completion, Engine, ModelError, Sampler, plugins, preflight, store
from tunesmith.config import check_config
from tunesmith.errors import ConfigError
from tunesmith.generation import engine_choice, engine_records, exporting
from tunesmith.generation.engine_choice import choose
from tunesmith.generation.racing import Workload, fastest
from tunesmith.plugin_host import Provenance
from tunesmith.stagekeys import stage_key

SMALL = Workload(streams=3, prompt=6, new=5)
NANO = {"name": "nano", "train": 20, "prompts": 10, "test": 10, "validation": 4}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Delayed(Engine):
    """The reference engine after a pause, which may say one token otherwise."""

    lies: bool = False
    pause: float = 0.0

    @contextmanager
    def open(self, model: Path) -> Iterator[object]:
        with plugins.build(Engine, "transformers").open(model) as inner:
            yield Speaking(inner, self)

    def reads(self, model: Path) -> bool:
        return plugins.build(Engine, "transformers").reads(model)


class Speaking:
    def __init__(self, inner, engine):
        self.inner, self.engine = inner, engine

    def generate(self, prompts, how):
        time.sleep(self.engine.pause)
        answers = self.inner.generate(prompts, how)
        if not self.engine.lies:
            return answers
        return [Completion([1, *one.ids[1:]], one.text, one.finish) for one in answers]


class Slow(Delayed):
    """Half a second later than the reference."""

    name = "slow"
    pause: float = 0.5


class Liar(Delayed):
    """As fast as the reference, and wrong."""

    name = "liar"
    lies: bool = True
    pause: float = 0.0


class Greedy(Sampler):
    """What no fast engine has heard of."""

    name = "unheard"
    draws = False

    def __call__(self, logits):
        return logits


@pytest.fixture
def engines(monkeypatch):
    """Offer two more engines that say greedy their own way."""
    plugins.host.cache_clear()
    for kind in (Slow, Liar):
        plugins.host().add(kind, Provenance(kind.name, "test", "0"))
    said = plugins.host().find(Sampler, "greedy")
    known = said.engine_options
    monkeypatch.setattr(
        said,
        "engine_options",
        lambda self, name: {} if name in ("slow", "liar") else known(self, name),
    )
    monkeypatch.setattr(engine_records.plugins, "source_hash", lambda kind: kind.__name__)
    yield
    plugins.host.cache_clear()


def names(found):
    return [one.label for one in found]


class TestChoosing:
    def test_the_fastest_is_picked_and_every_round_is_kept(self, engines):
        found = choose(tiny_model(), SMALL, ("transformers", "slow"))
        assert (found.pick.label, found.measured) == ("transformers", True)
        assert {one.label: len(one.rates) for one in found.rates} == {"transformers": 3, "slow": 3}
        assert found.engine == plugins.build(Engine, "transformers")

    def test_an_engine_that_says_something_else_is_dropped_and_it_says_why(self, engines):
        found = choose(tiny_model(), SMALL, ("transformers", "liar"))
        liar = next(one for one in found.rates if one.label == "liar")
        assert found.pick.label == "transformers"
        assert liar.rates == []
        assert "differs after 0 tokens, where the reference prefers its own by" in liar.dropped

    def test_an_engine_that_fails_is_dropped_with_its_reason(self, engines, monkeypatch):
        def open_(self, model):
            raise ModelError("no room")

        monkeypatch.setattr(Slow, "open", open_)
        found = choose(tiny_model(), SMALL, ("transformers", "slow"))
        assert {one.label: one.dropped for one in found.rates} == {
            "transformers": None,
            "slow": "no room",
        }

    def test_a_single_candidate_is_not_measured(self):
        found = choose(tiny_model(), SMALL, ("transformers",))
        assert (found.pick.label, found.measured, found.pick.rates) == ("transformers", False, [])

    def test_the_real_engines_agree_and_are_all_measured(self):
        found = choose(tiny_model(), SMALL, rounds=1)
        assert {one.label: one.dropped for one in found.rates} == dict.fromkeys(
            names(engine_choice.candidates(tiny_model(), plugins.build(Sampler, "greedy")))
        )
        assert {"transformers", "llamacpp"} <= set(names(found.rates))

    def test_what_quantizers_make_counts_only_where_they_are_named(self):
        plain = engine_choice.candidates(tiny_model(), plugins.build(Sampler, "greedy"))
        assert all(one.quantizer is None for one in plain)
        found = choose(tiny_model(), SMALL, ("llamacpp",), [{"name": "gguf", "type": "q8_0"}])
        assert names(found.rates) == ["llamacpp", "llamacpp gguf q8_0"]

    def test_an_engine_may_be_a_candidate_with_several_settings(self):
        hasty = {"name": "llamacpp", "exact": False}
        found = choose(tiny_model(), SMALL, ("llamacpp", hasty), ["gguf"], rounds=1)
        assert names(found.rates) == [
            "llamacpp",
            "llamacpp exact=False",
            "llamacpp gguf q8_0",
            "llamacpp exact=False gguf q8_0",
        ]

    def test_the_reference_is_asked_even_where_it_is_no_candidate(self, engines):
        found = choose(tiny_model(), SMALL, ("slow", "liar"))
        assert found.pick.label == "slow"
        assert [one.label for one in found.rates if one.dropped] == ["liar"]

    def test_only_the_engine_of_a_quantized_model_is_a_candidate_for_it(self, tmp_path):
        from tunesmith import Quantizer

        plugins.build(Quantizer, "gguf").quantize(tiny_model(), tmp_path)
        found = choose(tmp_path, SMALL)
        assert (found.pick.label, found.measured) == ("llamacpp", False)

    def test_only_engines_that_express_the_sampler_are_candidates(self):
        for sampler, wanted in ((Greedy(), {"transformers"}), ("beam", {"transformers"})):
            built = sampler if isinstance(sampler, Sampler) else plugins.build(Sampler, sampler)
            assert set(names(engine_choice.candidates(tiny_model(), built))) == wanted

    def test_a_workload_beyond_the_context_is_refused(self):
        with pytest.raises(ConfigError, match="do not fit the model's context of"):
            choose(tiny_model(), Workload(1, 5000, 10))

    def test_a_folder_that_no_engine_runs_is_refused(self, tmp_path):
        shutil.copytree(tiny_model(), tmp_path / "model")
        (tmp_path / "model/model.safetensors").unlink()
        with pytest.raises(ModelError, match=r"None of .* can run"):
            choose(tmp_path / "model", SMALL)


class TestKeeping:
    def test_it_is_measured_once_per_machine_shape_and_workload(self, engines, tmp_path):
        among = ("transformers", "slow")
        first = choose(tiny_model(), SMALL, among)
        # The same shape under another name, with other weights.
        other = tmp_path / "another-name"
        shutil.copytree(tiny_model(), other)
        again = choose(other, SMALL, among)
        assert (first.measured, again.measured) == (True, False)
        assert again.facts() == first.facts() | {"measured_now": False}
        assert choose(tiny_model(), Workload(2, 6, 5), among).measured
        assert choose(tiny_model(), SMALL, among, again=True).measured

    @pytest.mark.parametrize("changed", ["version", "machine", "shape"])
    def test_it_is_measured_again_when_something_changed(
        self, engines, monkeypatch, changed, tmp_path
    ):
        among, model = ("transformers", "slow"), tiny_model()
        choose(model, SMALL, among)
        if changed == "version":
            monkeypatch.setattr(engine_records, "version", lambda name: "99")
        elif changed == "machine":
            monkeypatch.setattr(engine_records, "_processor", lambda: "another one")
        else:
            model = tiny_model(context=512)
        assert choose(model, SMALL, among).measured

    def test_a_damaged_file_is_measured_anew(self, engines, home):
        among = ("transformers", "slow")
        choose(tiny_model(), SMALL, among)
        (path,) = (home / "engines").glob("*.json")
        path.write_text("{")
        assert choose(tiny_model(), SMALL, among).measured
        assert json.loads(path.read_text())["answer"]["pick"] == "transformers"


def test_the_fastest_is_who_leads_most_rounds_and_not_who_had_one_lucky_one():
    assert fastest({"a": [10, 10, 10, 10, 10], "b": [9, 9, 500, 9, 9]}) == "a"
    # The machine slowed down for both; whoever ran side by side was ahead in each round.
    assert fastest({"a": [100, 10, 10], "b": [90, 9, 99]}) == "a"


class TestExporting:
    def test_each_fast_engine_has_a_quantizer_that_keeps_every_weight(self):
        assert exporting.keeper("llamacpp").model_dump() == {"type": "f32"}
        assert exporting.keeper("transformers") is None

    def test_what_is_quantized_for_one_engine_has_no_form_for_another(self, tmp_path):
        from tunesmith import Quantizer

        plugins.build(Quantizer, "gguf").quantize(tiny_model(), tmp_path)
        (why,) = exporting.obstacles(plugins.build(Engine, "transformers"), tmp_path)
        assert "does not read" in why


def whole(**changes):
    return check_config(
        {
            "name": "demo",
            "model": str(tiny_model(context=1024)),
            "data": {"sources": [NANO]},
            "respond": {
                "engine": {"name": "auto", "streams": 2, "prompt": 4, "new": 3},
                "tasks": ["creative_writing"],
                "prompts": 5,
            },
        }
        | changes
    )


class TestPlanning:
    def test_the_choice_takes_the_configs_place_and_is_part_of_the_key(self):
        opened, config = store.open(), whole()
        found = preflight.plan(config, opened)
        assert found.problems == []
        chosen = found.chosen["respond.engine"]
        assert chosen["name"] in ("transformers", "llamacpp", "ctranslate2")
        settled = preflight.settled(config, found.chosen)
        assert settled.respond.engine == chosen
        keys = {
            name: stage_key(
                preflight.settled(config, {"respond.engine": {"name": name}}), "respond", {}
            )
            for name in ("transformers", "llamacpp")
        }
        assert len(set(keys.values())) == 2

    def test_a_second_plan_makes_the_same_choice_without_measuring(self, monkeypatch):
        opened = store.open()
        first = preflight.plan(whole(), opened)

        def never(*_):
            raise AssertionError("measured again")

        monkeypatch.setattr(engine_choice, "measure", never)
        assert preflight.plan(whole(), opened).chosen == first.chosen

    def test_a_stored_run_keeps_the_choice_though_the_measurement_is_gone(self, home):
        config = preflight.settled(whole(), preflight.plan(whole(), store.open()).chosen)
        shutil.rmtree(home / "engines")
        again = preflight.plan(check_config(config.model_dump(mode="json")), store.open())
        assert again.chosen == {}
        assert not (home / "engines").exists()

    def test_a_stage_that_comes_after_the_end_of_this_run_is_settled_too(self):
        found = preflight.plan(whole(), store.open(), until="prepare")
        assert [one.stage for one in found.stages] == ["prepare"]
        assert found.chosen["respond.engine"]["name"] in ("transformers", "llamacpp", "ctranslate2")

    def test_a_sampler_only_the_reference_knows_settles_it_and_the_plan_says_so(self):
        respond = {"engine": "auto", "sampler": {"name": "beam"}, "prompts": 5}
        found = preflight.plan(whole(respond=respond), store.open())
        assert found.chosen["respond.engine"]["name"] == "transformers"
        assert "auto takes transformers, because no other engine samples with beam" in "\n".join(
            map(str, found.warnings)
        )

    def test_a_model_that_is_not_there_yet_settles_it_too(self):
        config = whole(model="scratch", tune={"method": "pretrain"})
        found = preflight.plan(config, store.open())
        assert found.chosen["respond.engine"]["name"] == "transformers"
        assert "there is no model to measure yet" in "\n".join(map(str, found.warnings))


def test_the_engine_auto_answers_as_the_reference(tmp_path):
    from tunesmith import Generation

    torch.set_num_threads(1)
    how = Generation(plugins.build(Sampler, "greedy"), 8, [0, 0], ())
    said = []
    for spec in ("transformers", {"name": "auto", "streams": 2, "prompt": 4, "new": 3}):
        with plugins.build(Engine, spec).open(tiny_model()) as opened:
            said.append(opened.generate([[10, 42, 77], [5, 6]], how))
    assert said[0] == said[1]
