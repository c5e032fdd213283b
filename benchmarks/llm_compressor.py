"""What four bits cost the built-in nano: rounding, GPTQ and AWQ, with llm-compressor.

    TUNESMITH_LLM_COMPRESSOR_PYTHON=... python benchmarks/llm_compressor.py [--samples 256] [--json]

Calibrated on rows of the nano's training data, and once on the built-in prompts alone. The loss is
the mean Kullback-Leibler divergence of the next token from the unrounded model's, in nats, over 100
other rows, computed by transformers here (`pip install compressed-tensors`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tunesmith import DatasetSource
from tunesmith.chat import render_rows
from tunesmith.models import load_model, load_tokenizer, resolve_model
from tunesmith.plugins import build
from tunesmith_plugins.quantizers.llm_compressor import LlmCompressor

HELD_OUT = 100


def main() -> int:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=256, help="rows to calibrate on")
    parser.add_argument("--json", action="store_true", help="write one JSON document")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.samples)
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0


def measure(folder: Path, samples: int) -> list[dict[str, Any]]:
    """Return one record for each way of rounding."""
    nano = resolve_model("builtin:nano")
    rows = list(build(DatasetSource, {"name": "nano", "train": 400}).rows())
    texts = folder / "texts.jsonl"
    keys = ("prompt", "completion")
    given = [json.dumps({key: row[key] for key in keys}) for row in rows[:samples]]
    texts.write_text("\n".join(given), encoding="utf-8")
    others = render_rows(load_tokenizer(nano), rows[samples : samples + HELD_OUT])
    held_out, parent = [one.ids for one in others], load_model(nano)
    found = []
    for algorithm, path in (("rtn", None), ("gptq", None), ("gptq", texts), ("awq", texts)):
        out = folder / f"{algorithm}-{path is not None}"
        start = time.perf_counter()
        technique = LlmCompressor(algorithm=algorithm, calibration=path, samples=samples)
        metrics = technique.quantize(nano, out).metrics
        seconds = time.perf_counter() - start
        lost = divergence(parent, load_model(out), held_out)
        found.append({**metrics, "algorithm": algorithm, "lost": lost, "seconds": seconds})
        print(f"{algorithm}: done", file=sys.stderr)
    return found


@torch.no_grad()
def divergence(parent: Any, other: Any, texts: list[list[int]]) -> float:
    """Return the mean divergence of the next token's distribution, in nats."""
    total = count = 0.0
    for ids in texts:
        asked = torch.tensor([ids])
        wanted, got = (one(asked).logits.log_softmax(-1) for one in (parent, other))
        total += float((wanted.exp() * (wanted - got)).sum())
        count += len(ids)
    return total / count


def table(found: list[dict[str, Any]]) -> str:
    """Return the records as lines for a terminal."""
    lines = ["algorithm  texts   tokens  bits/weight  lost (nats)  seconds"]
    for one in found:
        made = f"{one['algorithm']:9}  {one['samples']:5}  {one['tokens']:7}"
        cost = f"{one['bits_per_weight']:11.2f}  {one['lost']:11.4f}  {one['seconds']:7.1f}"
        lines.append(f"{made}  {cost}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
