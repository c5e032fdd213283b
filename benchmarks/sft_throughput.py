"""Fine-tuning speed: Tunesmith's `sft`, a bare torch loop and TRL's SFTTrainer, side by side.

Each contestant trains the same stranger's model (babyllama105, 0.94 M parameters) on the same rows
of TinyStories in turn, several rounds in one process, so that a busy machine slows all of them
alike. Counted are real tokens (no padding) that went forward and backward, the optimiser included;
loading and tokenising are not. Ratios are medians over the rounds.

    python benchmarks/sft_throughput.py [--rounds 5] [--dtype float32] [--json out.json]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("TUNESMITH_SHARED", ROOT.parent / "shared"))
MODEL = SHARED / "models" / "babyllama105"
STORIES = SHARED / "data" / "creative" / "tinystories_v1_valid_head.txt.gz"
BATCH_TOKENS = 4096
RATE = 1e-4


@dataclass(frozen=True)
class Lap:
    """One contestant's round."""

    tokens: int
    wall: float
    cpu: float


def main() -> None:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=384)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for needed in (MODEL, STORIES):
        if not needed.exists():
            raise SystemExit(f"{needed} is not there; set TUNESMITH_SHARED.")
    be_quiet()
    rows = stories(options.rows)
    contestants: dict[str, Callable[[], Lap]] = {
        "tunesmith sft": lambda: tunesmith(rows, options.dtype),
        "bare torch loop": lambda: bare(rows, options.dtype),
        "TRL SFTTrainer, defaults": lambda: trl(rows, {}),
        "TRL SFTTrainer, tuned": lambda: trl(rows, tuned(options.dtype)),
    }
    for lap in contestants.values():
        lap()  # warm-up: imports, kernels, files
    laps = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, lap in contestants.items():
            laps[name].append(lap())
    show(laps, options)


def be_quiet() -> None:
    """Keep progress bars out of the table."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def stories(count: int) -> list[dict[str, str]]:
    """Return prompt-completion rows of 60 to 240 characters, which are this model's tokens."""
    text = gzip.decompress(STORIES.read_bytes()).decode("utf-8", errors="replace")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lines = [line[:240] for line in lines if len(line) > 60][:count]
    return [{"prompt": line[:30], "completion": line[30:]} for line in lines]


def tunesmith(rows: list[dict[str, str]], dtype: str) -> Lap:
    """Train one epoch as a user would."""
    from tunesmith import TrainingJob
    from tunesmith_plugins.methods.sft import Sft

    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(
            rows=rows, out=Path(folder, "out"), work=Path(folder, "work"), seed=0, model_dir=MODEL
        )
        sft = Sft(epochs=1, batch_tokens=BATCH_TOKENS, learning_rate=RATE, dtype=dtype)
        # The method's own clock covers the loop alone; processor time is taken around it.
        with CpuOfTheLoop() as cpu:
            outcome = sft.train(job)
    return Lap(outcome.metrics["tokens"], outcome.timings["seconds"], cpu.seconds)


class CpuOfTheLoop:
    """Measures the processor time of `run_loop` inside a method."""

    def __enter__(self) -> CpuOfTheLoop:
        import tunesmith_plugins.methods.sft as module

        self.seconds, self.module, self.plain = 0.0, module, module.run_loop

        def timed(*arguments: Any) -> Any:
            started = time.process_time()
            result = self.plain(*arguments)
            self.seconds += time.process_time() - started
            return result

        module.run_loop = timed
        return self

    def __exit__(self, *_: object) -> None:
        self.module.run_loop = self.plain


def bare(rows: list[dict[str, str]], dtype: str) -> Lap:
    """Train one epoch in the shortest loop that does the same work on the same batches."""
    import torch

    from tunesmith.models import load_model, load_tokenizer
    from tunesmith.training import Size, plan
    from tunesmith.training.encoding import encode_rows

    data = encode_rows(load_tokenizer(MODEL), rows).rows
    steps = plan(data.lengths, Size(BATCH_TOKENS), 0, epochs=1.0)
    model = load_model(MODEL).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    wall, cpu = time.perf_counter(), time.process_time()
    for step in steps:
        for batch in step:
            longest = int(data.lengths[batch].max())
            ids = torch.zeros(len(batch), longest, dtype=torch.long)
            labels, attend = torch.full_like(ids, -100), torch.zeros_like(ids)
            for line, row in enumerate(batch):
                part = slice(data.starts[row], data.starts[row + 1])
                tokens = torch.from_numpy(data.ids[part].astype("int64"))
                learnt = torch.from_numpy(data.supervised[part])
                ids[line, : len(tokens)], attend[line, : len(tokens)] = tokens, 1
                labels[line, : len(tokens)] = torch.where(learnt, tokens, -100)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = model(input_ids=ids, attention_mask=attend, labels=labels).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return Lap(int(data.lengths.sum()), time.perf_counter() - wall, time.process_time() - cpu)


def tuned(dtype: str) -> dict[str, Any]:
    """Return what someone who knows TRL would set for this machine and model."""
    return {
        "bf16": dtype == "bfloat16",
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 20,
        "train_sampling_strategy": "group_by_length",
    }


def trl(rows: list[dict[str, str]], options: dict[str, Any]) -> Lap:
    """Train one epoch with TRL; ``options`` change its defaults."""
    import warnings

    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: object, **__: object) -> None:
            self.wall, self.cpu = time.perf_counter(), time.process_time()

        def on_train_end(self, *_: object, **__: object) -> None:
            self.wall = time.perf_counter() - self.wall
            self.cpu = time.process_time() - self.cpu

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = SFTConfig(
            folder, num_train_epochs=1, learning_rate=RATE, use_cpu=True, report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, **options,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(str(MODEL)),
            processing_class=AutoTokenizer.from_pretrained(str(MODEL)),
            train_dataset=Dataset.from_list(rows),
            args=config,
            callbacks=[clock],
        )
        trainer.train()
        tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
    return Lap(tokens, clock.wall, clock.cpu)


def show(laps: dict[str, list[Lap]], options: argparse.Namespace) -> None:
    """Print tokens per second and our ratios; write them as JSON if asked."""
    ours = laps["tunesmith sft"]
    report: dict[str, Any] = {"rows": options.rows, "dtype": options.dtype, "contestants": {}}
    print(f"{'':26} {'tokens/s':>9} {'per CPU s':>10} {'ours is':>9} {'by CPU':>8}")
    for name, theirs in laps.items():
        line = {
            "tokens_per_second": statistics.median(lap.tokens / lap.wall for lap in theirs),
            "tokens_per_cpu_second": statistics.median(lap.tokens / lap.cpu for lap in theirs),
            "ratio": ratio(ours, theirs, "wall"),
            "ratio_by_cpu": ratio(ours, theirs, "cpu"),
        }
        report["contestants"][name] = line
        print(
            f"{name:26} {line['tokens_per_second']:9.0f} {line['tokens_per_cpu_second']:10.0f}"
            f" {line['ratio']:8.2f}x {line['ratio_by_cpu']:7.2f}x"
        )
    print(f"{options.rounds} rounds, {ours[0].tokens} tokens each, {options.dtype}; ", end="")
    print("loading and tokenising are not counted, the optimiser is.")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def ratio(ours: list[Lap], theirs: list[Lap], clock: str) -> float:
    """Return our speed over theirs: the median over rounds that ran next to each other."""
    return statistics.median(
        (a.tokens / getattr(a, clock)) / (b.tokens / getattr(b, clock))
        for a, b in zip(ours, theirs, strict=True)
    )


if __name__ == "__main__":
    main()
