"""The optimise stage proves each accelerator, and one that changes answers is not used."""

import json

import pytest

from tunesmith import Accelerator, plugins
from tunesmith.plugin_host import Provenance
from tunesmith_flows import optimise, proving
from tunesmith_flows.bench import Bench


class Coarse(Accelerator):
    """Rounds to eight bits of mantissa, which is no way to keep an answer."""

    name = "coarse"
    engine = "transformers"

    def options(self):
        return {"dtype": "bfloat16"}


@pytest.fixture
def with_coarse():
    plugins.host.cache_clear()
    plugins.host().add(Coarse, Provenance("coarse", "test", "0"))
    yield
    plugins.host.cache_clear()


def test_an_accelerator_whose_proof_fails_is_switched_off_and_the_report_says_so(
    lifecycle, tmp_path, sharp, with_coarse, monkeypatch
):
    pytest.importorskip("torchao")
    monkeypatch.setattr(proving, "DRAWS", 40)
    section = {
        "quantizer": {"name": "torchao_int8", "mode": "weight_only"},
        "accelerators": ["speculative_prompt_lookup", "coarse"],
    }
    config = lifecycle(only=["data"], model=str(sharp), optimise=section)
    told = []
    out, work = tmp_path / "made", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    bench = Bench("optimise", config, out, work, report=told.append)
    outcome = optimise.work(bench)
    assert outcome.metrics["accelerators"] == {"speculative_prompt_lookup": True, "coarse": False}
    report = json.loads((out / "report.json").read_text())
    good, bad = report["accelerators"]
    assert (good["on"], good["mismatches"]) == (True, [])
    assert bad["on"] is False
    assert bad["mismatches"]
    assert bad["accelerators"] == ["speculative_prompt_lookup", "coarse"]
    assert any("switched off coarse" in point.get("doing", "") for point in told)
    wanted = [plugins.build(Accelerator, one) for one in config.optimise.accelerators]
    assert [one.name for one in proving.still_on(report, wanted)] == ["speculative_prompt_lookup"]


def test_a_report_from_before_there_were_proofs_switches_nothing_off():
    wanted = [plugins.build(Accelerator, "prefix_cache")]
    assert proving.still_on({}, wanted) == wanted
