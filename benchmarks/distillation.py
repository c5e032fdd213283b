"""Three ways of distillation and plain fine-tuning of the same student, at equal budgets.

    python benchmarks/distillation.py [--tokens 400000] [--items 200] [--seeds 3]
                                      [--teacher FOLDER] [--task translation] [--json]

The teacher is the built-in nano, fine-tuned on one task for `--teacher-steps`, or `--teacher`.
Every student starts from the same weights: a smaller new model that was fine-tuned on the task's
rows for as many tokens, so that it can speak at all. Each method then takes as many steps of about
as many tokens (prompt and answer) through the student's backward pass; the tokens are printed, for
how long the answers become that a model writes is known only afterwards. What the answers cost to
write is no part of the budget: it shows in the seconds. A teacher that knows the rows by heart
answers as they do, and greedy `sequence` is then `sft`: give it more rows than it can remember.

Held-out items are asked of all: KL(teacher || student) per token and shared greedy tokens on the
rows' answers, the same on the student's own samples, and the share of exact answers (greedy). The
interval of a mean is a 95 % bootstrap over items, each the mean of its seeds; differences from
`sft` are paired by item. The means of the single seeds stand behind, as they vary too.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from tunesmith import Sampler, Task, TrainingJob
from tunesmith.chat import encode_prompt, render_rows, stop_ids
from tunesmith.evidence.statistics import Estimate, bootstrap_mean, paired_difference
from tunesmith.generation.reference import decoder, generate
from tunesmith.models import context_length, load_model, load_tokenizer, resolve_model, save_model
from tunesmith.plugins import build
from tunesmith.records import Generation
from tunesmith.training.batches import TokenRows
from tunesmith.training.losses import Forward
from tunesmith.training.nearness import Nearness, nearness
from tunesmith.training.own_samples import answered
from tunesmith.training.scratch import Architecture, new_model
from tunesmith_plugins.distillers.logit import Logit
from tunesmith_plugins.distillers.on_policy import OnPolicy
from tunesmith_plugins.distillers.sequence import Sequence
from tunesmith_plugins.methods.sft import Sft
from tunesmith_plugins.sources.nano import TASKS, world

torch.set_num_threads(1)
FIGURES = ("kl", "agreement", "own kl", "own agreement", "exact")
BATCH_TOKENS = 2048
RATES = {"learning_rate": 2e-3, "optimizer": "muon", "muon_learning_rate": 0.003, "warmup": 0.05}
TEACHER_RATES = RATES | {"learning_rate": 1e-3, "muon_learning_rate": 0.002}


@dataclass
class Measured:
    """Per held-out item, seeds one after another: what each figure is averaged over."""

    values: dict[str, list[float]] = field(default_factory=lambda: {f: [] for f in FIGURES})
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Exam:
    """The held-out items of one task."""

    task: Task
    rows: list[dict[str, Any]]
    longest: int

    def take(self, teacher: Path, student: Path, into: Measured, seed: int) -> None:
        """Measure a student and add the values of every item."""
        tokenizer, pupil = load_tokenizer(student), load_model(student)
        master = Forward(load_model(teacher))
        prompts = [encode_prompt(tokenizer, row["prompt"]) for row in self.rows]
        given = TokenRows.build(render_rows(tokenizer, self.rows))
        add(into, "", nearness(master, Forward(pupil), given))
        own = self._said(pupil, tokenizer, student, prompts, "random", seed)
        rows = (answered(*pair) for pair in zip(prompts, own, strict=True))
        add(into, "own ", nearness(master, Forward(pupil), TokenRows.build(rows)))
        said = self._said(pupil, tokenizer, student, prompts, "greedy", seed)
        pairs = zip(self.rows, said, strict=True)
        into.values["exact"] += [float(self.task.score(r, s.text).correct) for r, s in pairs]

    def row_tokens(self, student: Path) -> float:
        """Return how many tokens a prompt and the student's answer have together, on average."""
        tokenizer = load_tokenizer(student)
        prompts = [encode_prompt(tokenizer, row["prompt"]) for row in self.rows]
        said = self._said(load_model(student), tokenizer, student, prompts, "random", 0)
        pairs = zip(prompts, said, strict=True)
        return float(np.mean([len(prompt) + len(one.ids) for prompt, one in pairs]))

    def _said(
        self, model: Any, tokenizer: Any, folder: Path, prompts: Any, sampler: str, seed: int
    ) -> Any:
        seeds = [seed * 1_000_003 + at for at in range(len(prompts))]
        stops = stop_ids(tokenizer, folder)
        how = Generation(build(Sampler, sampler), self.longest, seeds, stops)
        return generate(model, prompts, how, decoder(tokenizer))


def add(into: Measured, prefix: str, near: Nearness) -> None:
    """Add one value per item: means over that item's tokens."""
    tokens = np.maximum(near.tokens, 1)
    into.values[f"{prefix}kl"] += (near.kl / tokens).tolist()
    into.values[f"{prefix}agreement"] += (near.agreeing / tokens).tolist()


def rows_of(family: str, split: str, count: int) -> list[dict[str, Any]]:
    """Return rows of one task with direct answers."""
    return [world.row(item, "direct") for item in world.items(family, split, count, 7)]


def steps_for(tokens: int) -> int:
    """Return how many steps of `BATCH_TOKENS` a budget pays for."""
    return max(1, round(tokens / BATCH_TOKENS))


def fine_tuned_teacher(rows: list[dict[str, Any]], steps: int, folder: Path) -> Path:
    """Return the nano, fine-tuned on one task."""
    how = Sft(steps=steps, batch_tokens=BATCH_TOKENS, **TEACHER_RATES)
    how.train(job(folder, rows, resolve_model("builtin:nano"), 1))
    return folder / "out"


def job(folder: Path, rows: list[dict[str, Any]], start: Path | None, seed: int) -> TrainingJob:
    """Return a job in a folder of its own."""
    return TrainingJob(
        rows=rows, out=folder / "out", work=folder / "work", seed=seed, model_dir=start
    )


def students(teacher: Path, rows: list[dict[str, Any]], steps: int, folder: Path) -> Path:
    """Return the student that all methods start from: small, and able to speak."""
    tokenizer = load_tokenizer(teacher)
    shape = Architecture(
        hidden_size=128, intermediate_size=256, layers=2, context=context_length(teacher)
    )
    plain = folder / "plain"
    save_model(new_model(shape, tokenizer, 1), tokenizer, plain)
    Sft(steps=steps, batch_tokens=BATCH_TOKENS, **RATES).train(job(folder, rows, plain, 1))
    return folder / "out"


def methods(steps: int, longest: int, given: float, own: float) -> dict[str, Any]:
    """Return the contestants, all with the same optimiser and as many steps.

    ``given`` and ``own`` are the mean tokens of a row and of one that the student has answered;
    they say how many prompts make up a step of on_policy.
    """
    rows = {"steps": steps, "batch_tokens": BATCH_TOKENS, **RATES, "weight_decay": 0.0}
    asked = {"steps": steps, "max_new_tokens": longest, **RATES, "weight_decay": 0.0}
    mixed, alone = (max(1, round(BATCH_TOKENS / size)) for size in ((given + own) / 2, own))
    return {
        "sft": Sft(**rows),
        "sequence": Sequence(**rows, max_new_tokens=longest),
        "sequence sampled": Sequence(**rows, max_new_tokens=longest, sampler="random"),
        "logit": Logit(**rows),
        "logit reverse_kl": Logit(**rows, divergence="reverse_kl", temperature=1.0),
        "on_policy": OnPolicy(**asked, batch_size=mixed),
        "on_policy lmbda=1": OnPolicy(**asked, batch_size=alone, lmbda=1.0),
    }


def taught(how: Any, teacher: Path, work: TrainingJob) -> tuple[int, float]:
    """Train one student; return about how many tokens it learnt from, and the seconds."""
    lengths: list[float] = []
    work.report = lambda point: lengths.append(point.get("completion_length", 0.0))
    started = time.monotonic()
    outcome = how.train(work) if isinstance(how, Sft) else how.distil(teacher, work)
    seconds = time.monotonic() - started
    if "tokens" in outcome.metrics:
        return outcome.metrics["tokens"], seconds
    tokenizer = load_tokenizer(teacher)
    prompt = np.mean([len(encode_prompt(tokenizer, row["prompt"])) for row in work.rows[:500]])
    return round(how.steps * how.batch_size * (prompt + np.mean(lengths))), seconds


def compared(given: argparse.Namespace, folder: Path) -> dict[str, Measured]:
    """Teach every student with every seed, the methods taking turns, and measure all."""
    rows = rows_of(given.task, "train", given.rows)
    teacher = given.teacher or fine_tuned_teacher(rows, given.teacher_steps, folder / "teacher")
    tokenizer = load_tokenizer(teacher)
    lengths = [len(one.ids) for one in render_rows(tokenizer, rows[:500])]
    answers = [sum(one.mask) for one in render_rows(tokenizer, rows[:500])]
    longest = 8 + max(answers)
    exam = Exam(build(Task, TASKS[given.task]), rows_of(given.task, "test", given.items), longest)
    steps = steps_for(given.tokens)
    start = students(teacher, rows, steps, folder / "start")
    given_tokens, own_tokens = float(np.mean(lengths)), exam.row_tokens(start)
    found = {"teacher": Measured(), "start": Measured()}
    exam.take(teacher, teacher, found["teacher"], 0)
    exam.take(teacher, start, found["start"], 0)
    for seed in range(given.seeds):
        for name, how in methods(steps, longest, given_tokens, own_tokens).items():
            work = job(folder / f"{name}-{seed}", rows, start, seed)
            measured = found.setdefault(name, Measured())
            tokens, seconds = taught(how, teacher, work)
            measured.tokens.append(tokens)
            measured.seconds.append(seconds)
            exam.take(teacher, work.out, measured, seed)
    return found


def per_item(values: list[float], items: int) -> dict[str, float]:
    """Return the mean over seeds of every item."""
    means = np.array(values).reshape(-1, items).mean(axis=0)
    return {f"{at:05}": float(mean) for at, mean in enumerate(means)}


def table(found: dict[str, Measured], items: int) -> list[dict[str, Any]]:
    """Return one line per method and figure, with intervals."""
    lines = []
    for name, one in found.items():
        for figure in FIGURES:
            line: dict[str, Any] = {"method": name, "figure": figure}
            values = per_item(one.values[figure], items)
            line["mean"] = estimate(bootstrap_mean(list(values.values()), 1))
            seeds = np.array(one.values[figure]).reshape(-1, items).mean(axis=1)
            line["seeds"] = [round(float(mean), 4) for mean in seeds]
            if name not in ("teacher", "start", "sft"):
                gap = paired_difference(values, per_item(found["sft"].values[figure], items), 1)
                line["less sft"] = estimate(gap)
            lines.append(line)
        if one.tokens:
            lines.append({"method": name, "tokens": one.tokens, "seconds": one.seconds})
    return lines


def estimate(found: Estimate) -> list[float]:
    """Return value and interval."""
    return [round(float(part), 4) for part in (found.value, found.low, found.high)]


def shown(line: dict[str, Any]) -> str:
    """Return a line of the table for eyes."""
    if "tokens" in line:
        seconds = ", ".join(f"{one:.0f}" for one in line["seconds"])
        return f"{line['method']:20} about {np.mean(line['tokens']):,.0f} tokens; {seconds} s"
    parts = [f"{line['method']:20} {line['figure']:14}", interval(line["mean"])]
    if "less sft" in line:
        parts.append("less sft " + interval(line["less sft"]))
    return "  ".join([*parts, f"seeds {line['seeds']}"])


def interval(numbers: list[float]) -> str:
    """Return a value and its interval."""
    value, low, high = numbers
    return f"{value:8.4f} [{low:8.4f}, {high:8.4f}]"


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=400_000, help="budget of each method")
    parser.add_argument("--items", type=int, default=200, help="held-out items")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--task", choices=sorted(TASKS), default="translation")
    parser.add_argument("--teacher", type=Path, help="a folder, instead of tuning the nano")
    parser.add_argument("--teacher-steps", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunesmith-distillation-") as scratch:
        lines = table(compared(given, Path(scratch)), given.items)
    print(json.dumps(lines, indent=1) if given.json else "\n".join(map(shown, lines)))


if __name__ == "__main__":
    main()
