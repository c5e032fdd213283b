"""Evaluators measure what was answered, and gates never pass on missing or doubtful evidence."""

import math
from pathlib import Path

import pytest

from tunesmith import plugins
from tunesmith.evidence.measurements import (
    Answer,
    Duel,
    Evidence,
    Footprint,
    Measurement,
    read_json_lines,
    write_json_lines,
)
from tunesmith.techniques import Deployer, Evaluator, Gate


def answers(model: str, solved: set[int], n: int = 100) -> list[Answer]:
    return [
        Answer(model, "maths", str(i), "q", "a", float(i in solved), i in solved, 3)
        for i in range(n)
    ]


def measure(name: str, evidence: Evidence) -> dict[str, Measurement]:
    return {m.key: m for m in plugins.build(Evaluator, name).measure(evidence)}


def decide(measurements, **spec):
    return plugins.build(Gate, spec).decide(list(measurements))


def evidence(tuned: set[int], aligned: set[int]) -> Evidence:
    both = answers("tuned", tuned) + answers("aligned", aligned)
    return Evidence(answers=both, parents={"aligned": "tuned"})


def test_task_scores_give_shares_and_a_paired_difference():
    found = measure("task_scores", evidence(set(range(80)), set(range(70))))
    assert found["maths/tuned"].value == 0.8
    gap = found["maths/aligned-vs-tuned"]
    assert gap.value == pytest.approx(-0.1)
    assert gap.significance() == "significantly worse"


def test_not_worse_passes_equal_models_and_refuses_a_real_loss():
    gate = {"name": "not_worse", "model": "aligned", "baseline": "tuned", "margin": 0.05}
    same = measure("task_scores", evidence(set(range(80)), set(range(80))))
    worse = measure("task_scores", evidence(set(range(80)), set(range(60))))
    assert decide(same.values(), **gate).passed
    verdict = decide(worse.values(), **gate)
    assert not verdict.passed
    assert "maths -20.0 points" in verdict.reason


def test_not_worse_refuses_a_small_mean_loss_when_the_interval_is_wide():
    lost = evidence({*range(50)}, {*range(2, 50)} | {60})
    verdict = decide(
        measure("task_scores", lost).values(),
        name="not_worse", model="aligned", baseline="tuned", margin=0.02,
    )  # fmt: skip
    assert not verdict.passed


def test_gates_refuse_missing_and_nan_evidence():
    nan = Measurement("maths", "aligned", math.nan, math.nan, math.nan, 0, baseline="tuned")
    assert not decide([], name="not_worse", model="aligned", baseline="tuned").passed
    assert not decide([nan], name="not_worse", model="aligned", baseline="tuned").passed
    assert not decide([], name="at_least", measurement="x", model="m", value=0).passed
    broken = Measurement("x", "m", math.nan, math.nan, math.nan, 0)
    assert not decide([broken], name="at_least", measurement="x", model="m", value=0).passed
    assert not decide([broken], name="at_most", measurement="x", model="m", value=9).passed


def test_at_least_looks_at_the_interval_and_not_only_at_the_estimate():
    m = Measurement("win_rate:tuned", "aligned", 0.55, 0.48, 0.62, 100)
    spec = {"name": "at_least", "measurement": "win_rate:tuned", "model": "aligned", "value": 0.5}
    assert not decide([m], **spec).passed
    assert decide([m], **spec, use="value").passed


def test_at_most_holds_sizes_down():
    m = Measurement("size_ratio", "quantized", 0.27, 0.27, 0.27, 1)
    spec = {"name": "at_most", "measurement": "size_ratio", "model": "quantized"}
    assert decide([m], **spec, value=0.3).passed
    assert not decide([m], **spec, value=0.25).passed


def test_win_rate_counts_ties_half_and_shows_its_judge():
    worth = [(2, 1), (1, 1), (0, 1), (3, 1)]
    duels = [Duel(str(i), "story", "aligned", "tuned", "a", "b", *u) for i, u in enumerate(worth)]
    m = measure("win_rate", Evidence(duels=duels))["win_rate:tuned/aligned"]
    assert m.value == 0.625
    assert "2 won, 1 tied" in m.method


def test_size_is_counted_against_fp32():
    found = measure("speed_and_size", Evidence(footprints=[Footprint("q", "llamacpp", 27, 8.5)]))
    assert found["size_ratio/q"].value == pytest.approx(8.5 / 32)


def test_records_survive_json(tmp_path: Path):
    kept = answers("tuned", {1})
    write_json_lines(tmp_path / "answers.jsonl", kept)
    assert read_json_lines(tmp_path / "answers.jsonl", Answer) == kept


def test_folder_deployer_replaces_the_old_model_whole(tmp_path: Path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model").write_text("1")
    deployer = plugins.build(Deployer, {"name": "folder", "path": str(tmp_path / "live")})
    assert deployer.deploy(bundle)["replaced"] is False
    (bundle / "model").write_text("2")
    assert deployer.deploy(bundle)["replaced"] is True
    assert (tmp_path / "live/model").read_text() == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "live"]


def test_folder_deployer_says_early_that_the_place_is_missing(tmp_path: Path):
    spec = {"name": "folder", "path": str(tmp_path / "no/where")}
    assert "does not exist" in plugins.build(Deployer, spec).problems()[0]
