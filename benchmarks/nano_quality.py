"""The built-in nano through its whole life, measured against what the project promises of it.

    python benchmarks/nano_quality.py [--items 1000] [--home FOLDER] [--set KEY=VALUE]

Runs examples/nano/lifecycle.yaml with that many held-out items per task and prints every figure
beside its target. With `--home`, stages that a run in that home has made already are taken from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples/nano/lifecycle.yaml"
EXACT = ("maths_reasoning:chain_of_thought", "machine_translation", "code_generation")
BASE, TUNED, ALIGNED, SMALL = "base", "tuned", "aligned", "quantized"


@dataclass(frozen=True)
class Figure:
    """One promise: what was measured, with its interval, and whether it holds."""

    name: str
    value: float
    low: float
    high: float
    target: str
    holds: bool

    def line(self) -> str:
        """Return a row of the table; values are in per cent or points."""
        told = f"{100 * self.value:6.1f}  [{100 * self.low:6.1f}, {100 * self.high:6.1f}]"
        return f"{'ok  ' if self.holds else 'MISS'}  {self.name:52} {told}   {self.target}"


class Evaluation:
    """The measurements of one run, by name, model and baseline."""

    def __init__(self, folder: Path) -> None:
        found = json.loads((folder / "measurements.json").read_text(encoding="utf-8"))
        self.found = {(one["name"], one["model"], one["baseline"]): one for one in found}

    def share(self, name: str, model: str) -> dict[str, Any]:
        """Return a measurement of one model."""
        return self.found[name, model, None]

    def gaps(self, model: str) -> list[dict[str, Any]]:
        """Return the paired differences of a model from its parent."""
        return [one for (_, who, other), one in self.found.items() if who == model and other]


def figures(evaluation: Evaluation, card: dict[str, Any]) -> Iterator[Figure]:
    """Yield every promise with what came out."""
    for task in (*EXACT, "maths_reasoning"):
        base = evaluation.share(task, BASE)
        yield _figure(f"{BASE} on {task}", base, "under 20", base["value"] < 0.2)
    for task in EXACT:
        tuned = evaluation.share(task, TUNED)
        yield _figure(f"{TUNED} on {task}", tuned, "at least 70", tuned["value"] >= 0.7)
    yield _thinking(evaluation)
    ratio = card["ratio"]
    yield _figure(
        "reward accuracy, share of its ceiling", ratio, "at least 90", ratio["value"] >= 0.9
    )
    won = evaluation.share(f"win_rate:{TUNED}", ALIGNED)
    holds = won["value"] >= 0.6 and won["low"] > 0.5
    yield _figure(f"win rate of {ALIGNED} over {TUNED}", won, "at least 60, above 50", holds)
    for model, margin in ((ALIGNED, 0.05), (SMALL, 0.03)):
        for gap in evaluation.gaps(model):
            name = f"{model} less {gap['baseline']} on {gap['name']}"
            yield _figure(name, gap, f"bound above {-100 * margin:.0f}", gap["low"] >= -margin)
    size = evaluation.share("size_ratio", SMALL)
    yield _figure("q8_0 size, share of fp32", size, "at most 30", size["value"] <= 0.3)


def _thinking(evaluation: Evaluation) -> Figure:
    """Return by how much working step by step beats answering at once, on the same problems."""
    from tunesmith.evidence.statistics import paired_difference

    thought = evaluation.share("maths_reasoning:chain_of_thought", TUNED)["per_item"]
    direct = evaluation.share("maths_reasoning", TUNED)["per_item"]
    gap = paired_difference(thought, direct, 7)
    made = {"value": gap.value, "low": gap.low, "high": gap.high}
    return _figure(f"{TUNED}: step by step less direct", made, "at least 10", gap.value >= 0.1)


def _figure(name: str, found: dict[str, Any], target: str, holds: bool) -> Figure:
    return Figure(name, found["value"], found["low"], found["high"], target, holds)


def run(home: Path, items: int, overrides: list[str]) -> dict[str, str]:
    """Go through the lifecycle and return the artifact of each stage."""
    # A gate that refuses is a result here, so the run ends before release.
    settings = [f"evaluate.items={items}", f"data.sources.0.test={max(items, 400)}", *overrides]
    command = [sys.executable, "-m", "tunesmith.cli", "run", str(CONFIG), "--until", "evaluate"]
    command += ["--json", *(part for one in settings for part in ("--set", one))]
    environment = {**os.environ, "TUNESMITH_HOME": str(home)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    made: dict[str, str] = json.loads(done.stdout)["artifacts"]
    return made


def main() -> None:
    """Run, and print the table; exit 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunesmith-nano-") as scratch:
        home = given.home or Path(scratch)
        made = run(home, given.items, given.overrides)
        store = home / "artifacts"
        card = json.loads((store / made["reward"] / "card.json").read_text(encoding="utf-8"))
        found = list(figures(Evaluation(store / made["evaluate"]), card))
    if given.json:
        print(json.dumps([vars(one) for one in found], indent=1))
    else:
        print("\n".join(one.line() for one in found))
    sys.exit(0 if all(one.holds for one in found) else 1)


if __name__ == "__main__":
    main()
