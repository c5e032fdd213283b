"""kill -9 at the start, the middle and the end of every stage, one after the other."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "examples/tiny/lifecycle.yaml"


def load_killing():
    spec = importlib.util.spec_from_file_location("killing", ROOT / "benchmarks/killing.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["killing"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_lifecycle_killed_at_every_point_ends_as_an_undisturbed_one(tmp_path):
    killing = load_killing()
    # Another base can be named where the built-in model is not at hand.
    model = os.environ.get("TUNESMITH_TEST_MODEL")
    overrides = [f"model={model}"] if model else []
    calm = killing.Ground(tmp_path / "calm", CONFIG, overrides)
    assert calm.start() == 0
    wanted, seconds = calm.results(), calm.seconds()
    assert len(wanted) == 9 and killing.faults(calm, wanted) == []

    ground, again = killing.Ground(tmp_path / "killed", CONFIG, overrides), False
    for stage in wanted:
        for point in killing.POINTS:
            go = ground.resume if again else ground.start
            strike = {"kill_at": f"{stage}:{point}", "kill_after": seconds[stage] / 2}
            again = go(until=stage, **strike) != 0
            assert killing.orphans(ground.home) == [], f"after {stage}:{point}"
    assert ground.start() == 0
    assert killing.faults(ground, wanted) == []
