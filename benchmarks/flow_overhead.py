"""What the flow costs beside its own work: `tunesmith run` against the bare stage functions.

    python benchmarks/flow_overhead.py [--config FILE] [--set model=FOLDER] [--rounds 2]

Both are whole processes doing the same work with the same seeds, one after the other in the order
flow, bare, bare, flow, ... The default, examples/tiny, is half a minute of work, in which the start
of Prefect's server and the bookkeeping weigh most; examples/nano/lifecycle.yaml is the demo, and
takes about 13 minutes a round. The bare side calls each stage's `work` function with
folders for inputs: no Prefect, no database, no ledger, no manifest, no report. It has to import
Prefect because the stage files do; the seconds of that import are taken off its time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = ROOT / "examples/tiny/lifecycle.yaml"
COMPARED = ("tune/model.safetensors", "align/model.safetensors", "optimise/model.gguf",
            "evaluate/answers.jsonl", "collect/labels.jsonl")  # fmt: skip


def bare(config_file: Path, folder: Path, overrides: list[str]) -> None:
    """Go through the stages as plain functions; print the seconds spent on importing Prefect."""
    began = time.perf_counter()
    import prefect  # noqa: F401

    spent = time.perf_counter() - began
    from tunesmith import stages
    from tunesmith.config import load_config
    from tunesmith.store import Artifact
    from tunesmith_flows import (
        align,
        collect,
        evaluate,
        optimise,
        prepare,
        release,
        respond,
        reward,
        tune,
    )  # fmt: skip
    from tunesmith_flows.bench import Bench

    modules = [prepare, tune, respond, collect, reward, align, optimise, evaluate, release]
    works = {module.__name__.rpartition(".")[2]: module.work for module in modules}
    config, made = load_config(config_file, overrides), {}
    for stage in stages.planned(config):
        out, work = folder / stage.name, folder / "work" / stage.name
        out.mkdir(parents=True)
        work.mkdir(parents=True)
        inputs = {name: made[name] for name in stages.inputs(stage.name, config, made)}
        outcome = works[stage.name](Bench(stage.name, config, out, work, inputs))
        manifest = {"metrics": outcome.metrics, "fingerprint": None, "digest": "", "inputs": []}
        made[stage.name] = Artifact(f"{stage.kind}-0", stage.kind, out, manifest)
    print(json.dumps({"prefect": spent}))


def time_bare(config: Path, folder: Path, overrides: list[str]) -> float:
    """Return the seconds of the bare process, less the import of Prefect."""
    about = ["--config", str(config), "--bare", str(folder)]
    command = [sys.executable, __file__, *about, *_sets(overrides)]
    began = time.perf_counter()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    whole = time.perf_counter() - began
    return whole - float(json.loads(said.splitlines()[-1])["prefect"])


def time_flow(config: Path, home: Path, overrides: list[str]) -> float:
    """Return the seconds of `tunesmith run` in a fresh home."""
    command = [sys.executable, "-m", "tunesmith.cli", "run", str(config), *_sets(overrides)]
    began = time.perf_counter()
    environment = {**os.environ, "TUNESMITH_HOME": str(home)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - began


def _sets(overrides: list[str]) -> list[str]:
    return [part for one in overrides for part in ("--set", one)]


def same_work(folder: Path, home: Path) -> list[str]:
    """Return the files in which the two sides differ."""
    made = {_hash(path) for path in (home / "artifacts").rglob("*") if path.is_file()}
    return [name for name in COMPARED if _hash(folder / name) not in made]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Measure and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=TINY)
    parser.add_argument("--bare", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    if given.bare:
        bare(given.config, given.bare, given.overrides)
        return
    flows, bares = [], []
    with tempfile.TemporaryDirectory(prefix="tunesmith-overhead-") as name:
        for number in range(given.rounds):
            home, folder = Path(name, f"home{number}"), Path(name, f"bare{number}")
            sides = [("flow", time_flow, home), ("bare", time_bare, folder)]
            for side, measured, where in sides if number % 2 == 0 else reversed(sides):
                seconds = measured(given.config, where, given.overrides)
                (flows if side == "flow" else bares).append(seconds)
                print(f"{side}: {seconds:.1f} s", flush=True)
            print(f"files that differ: {same_work(folder, home) or 'none'}", flush=True)
    ratio = statistics.median(flows) / statistics.median(bares)
    print(f"flow {statistics.median(flows):.1f} s / bare {statistics.median(bares):.1f} s"
          f" = {ratio:.3f} (at most 1.10 wanted)")  # fmt: skip


if __name__ == "__main__":
    main()
