"""The sample browser: a few prompts of some steps with all their answers and rewards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tunesmith.records import Message
from tunesmith.training.rollouts import Rollout

SAMPLES = "samples.jsonl"


def add_samples(
    path: Path,
    step: int,
    rollout: Rollout,
    prompts: Sequence[list[Message]],
    advantages: Sequence[float],
    rows: int,
) -> None:
    """Append the first ``rows`` completions of a step, one JSON line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for row in range(min(rows, len(rollout.completions))):
            record = {
                "step": step,
                "prompt": prompts[rollout.asked[row]],
                "completion": rollout.completions[row].text,
                "finish": rollout.completions[row].finish,
                "reward": float(rollout.rewards[row]),
                "advantage": advantages[row],
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def forget_samples(path: Path, before: int) -> None:
    """Keep only samples of steps below ``before``: the others will be drawn again."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A kill in the middle of a write leaves half a line.
    whole = [line for line in lines if line.endswith("\n")]
    kept = [line for line in whole if json.loads(line)["step"] < before]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)
