"""Kill examples/tiny at every point of every stage and at random, and resume it each time.

    python benchmarks/kill_tests.py [--set model=FOLDER] [--random 10] [--stage tune] [--folder DIR]

Each kill starts from a home in which the earlier stages are done, and is followed by one
`tunesmith resume` that has to end with the artifacts of an undisturbed run.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from random import Random

from killing import POINTS, Ground, faults, orphans

from tunesmith.stages import NAMES

CONFIG = Path(__file__).parents[1] / "examples/tiny/lifecycle.yaml"


def main() -> None:
    """Run the kills and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--random", type=int, default=0, help="kills at a random moment")
    parser.add_argument("--stage", action="append", help="only these stages")
    parser.add_argument("--folder", type=Path, help="where to work; kept afterwards")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="tunesmith-kill-"))
    calm = Ground(folder / "calm", CONFIG, given.overrides)
    shots = snapshots(calm, folder)
    wanted, seconds = calm.results(), calm.seconds()
    print(f"undisturbed: {sum(seconds.values()):.1f} s of work", flush=True)
    plan = [(s, p, seconds[s] / 2) for s in wanted if s in (given.stage or wanted) for p in POINTS]
    rng = Random(0)
    for _ in range(given.random):
        stage = rng.choice(list(wanted))
        plan.append((stage, "middle", rng.uniform(0, seconds[stage])))
    bad = sum(not one(calm, shots, wanted, *kill) for kill in plan)
    print(f"{len(plan)} kills, {bad} with faults")
    raise SystemExit(bool(bad))


def snapshots(calm: Ground, folder: Path) -> dict[str, Path]:
    """Run stage by stage; return stage -> a copy of the home in which that stage is still to do."""
    calm.home.mkdir(parents=True)
    shots = {}
    for stage in NAMES:
        shots[stage] = folder / f"before-{stage}"
        shutil.copytree(calm.home, shots[stage])
        if calm.start(until=stage) != 0:
            raise RuntimeError(f"{stage} was killed without being asked to")
    return shots


def one(
    calm: Ground,
    shots: dict[str, Path],
    wanted: dict[str, str],
    stage: str,
    point: str,
    after: float,
) -> bool:
    """Kill once, resume once, and say what is wrong with the result."""
    began = time.monotonic()
    ground = Ground(calm.folder.parent / "struck", calm.config, calm.overrides)
    shutil.rmtree(ground.home, ignore_errors=True)
    shutil.copytree(shots[stage], ground.home)
    struck = ground.start(kill_at=f"{stage}:{point}", kill_after=after) != 0
    left = [f"orphan at once: {one}" for one in orphans(ground.home)]
    if struck:
        ground.resume()
    found = left + faults(ground, wanted)
    how = "killed" if struck else "finished before the stroke"
    took = time.monotonic() - began
    place = f"{stage}:{point}" + (f" after {after:.2f} s" if point == "middle" else "")
    print(f"{place:<32} {how:<8} {took:5.1f} s  {'; '.join(found) or 'same artifacts'}", flush=True)
    return not found


if __name__ == "__main__":
    main()
