"""Tunesmith's own GRPO loop against TRL's GRPOTrainer: samples per second, learning, resuming.

    python benchmarks/grpo_against_trl.py [--model FOLDER] [--steps 20] [--seeds 3]

The same model, prompts, group size, answer length and rule reward for both, one thread each, in
turns. Three settings: TRL with its own defaults, TRL as fast as it goes on this CPU (fp32, no
gradient checkpointing), and ours with its defaults and in fp32. CPU time is compared, so that other
work on the machine does not count. Learning: the mean reward of the last quarter of the steps, with
the 95 % t-interval of its difference over the seeds. Resuming: 4 steps, and 2 steps that go on from
a checkpoint for 2 more; the weights must be the same bytes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch

from tunesmith import TrainingJob
from tunesmith.errors import Stopped
from tunesmith.models import load_model, load_tokenizer, resolve_model
from tunesmith.training import checkpoint
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.methods.grpo import Grpo
from tunesmith_plugins.sources.nano import world

torch.set_num_threads(1)
PROMPTS, GROUP, LONGEST, RATE = 8, 8, 96, 2e-4


def rule(messages, completions):
    """Reward quotation marks."""
    return [float(text.count('"')) for text in completions]


def rows():
    """Return the prompts both are asked."""
    items = world.items("stories", "prompts", 64, 1)
    return [{"prompt": world.row(item, "direct")["prompt"]} for item in items]


@dataclass
class Course:
    """What a run took, and what it learnt."""

    seconds: list[float]
    """CPU seconds of every step."""
    rewards: list[float]

    @property
    def samples_per_second(self) -> float:
        """Return how many answers were written and learnt from per CPU second."""
        return PROMPTS * GROUP / statistics.median(self.seconds)

    @property
    def learnt(self) -> float:
        """Return the mean reward of the last quarter."""
        return statistics.fmean(self.rewards[-max(1, len(self.rewards) // 4) :])


def ours(
    model: Path,
    steps: int,
    folder: Path,
    seed: int = 1,
    dtype: str = "auto",
    cut: int | None = None,
) -> Course:
    """Train with Tunesmith; ``cut`` stops after so many steps, as Ctrl-C does."""
    how = Grpo(
        steps=steps, prompts_per_step=PROMPTS, num_generations=GROUP, schedule="constant",
        max_completion_length=LONGEST, learning_rate=RATE, beta=0.04, dtype=dtype, max_kl=None,
    )  # fmt: skip
    job = TrainingJob(
        rows=rows(), out=folder / "out", work=folder / "work", seed=seed, model_dir=model,
        adapter=Lora(r=16), reward=rule,
    )  # fmt: skip
    marks, rewards = [time.process_time()], []

    def note(point: dict[str, Any]) -> None:
        if "reward" in point:
            marks.append(time.process_time())
            rewards.append(float(point["reward"]))

    job.report = note
    job.should_stop = lambda: cut is not None and len(marks) > cut
    with suppress(Stopped):
        how.train(job)
    return Course([b - a for a, b in pairwise(marks)], rewards)


def theirs(
    model: Path, steps: int, folder: Path, seed: int = 1, *, fast: bool = True, resume: bool = False
) -> Course:
    """Train with TRL."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            marks.append(time.process_time())

        def on_train_end(self, *args, **kwargs):
            marks.append(time.process_time())

    quick = {"bf16": False, "gradient_checkpointing": False} if fast else {}
    args = GRPOConfig(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP, max_completion_length=LONGEST, learning_rate=RATE, beta=0.04,
        use_cpu=True, report_to="none", seed=seed, save_strategy="steps", save_steps=2,
        logging_steps=1, lr_scheduler_type="constant", disable_tqdm=True, loss_type="dr_grpo",
        save_only_model=False, **quick,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=load_model(model), args=args, processing_class=load_tokenizer(model),
        reward_funcs=lambda completions, **_: rule(None, [c[0]["content"] for c in completions]),
        train_dataset=Dataset.from_list(rows()), callbacks=[Clock()],
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model(str(folder / "final"))
    told = [point["reward"] for point in trainer.state.log_history if "reward" in point]
    return Course([b - a for a, b in pairwise(marks)], told)


WAYS = {
    "ours": lambda *about: ours(*about),
    "ours, fp32": lambda *about: ours(*about, dtype="float32"),
    "TRL, fp32, no checkpointing": lambda *about: theirs(*about),
    "TRL, its defaults": lambda *about: theirs(*about, fast=False),
}


def race(model: Path, steps: int, seeds: int, folder: Path) -> dict[str, list[Course]]:
    """Return every way's course for every seed; the ways take turns."""
    found: dict[str, list[Course]] = {way: [] for way in WAYS}
    for seed in range(1, seeds + 1):
        for number, (way, run) in enumerate(WAYS.items()):
            found[way].append(run(model, steps, folder / f"{number}-{seed}", seed))
            last = found[way][-1]
            told = f"{last.samples_per_second:6.1f} samples/s, reward {last.learnt:.2f}"
            print(f"  seed {seed}  {way:28} {told}", flush=True)
    return found


def report(found: dict[str, list[Course]]) -> None:
    """Print speeds and rewards, each against ours."""
    mine = found["ours"]
    for way, courses in found.items():
        speed = statistics.median(one.samples_per_second for one in courses)
        ratios = [
            a.samples_per_second / b.samples_per_second for a, b in zip(mine, courses, strict=True)
        ]
        gaps = [a.learnt - b.learnt for a, b in zip(mine, courses, strict=True)]
        learnt = statistics.fmean(one.learnt for one in courses)
        line = f"{way:28} {speed:6.1f} samples/s  reward {learnt:.2f}"
        if way != "ours":
            line += f"   ours: {statistics.median(ratios):.2f} x, reward {interval(gaps)}"
        print(line)


def interval(gaps: list[float]) -> str:
    """Return a mean difference with its 95 % t-interval."""
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        return f"{mean:+.2f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def main() -> None:
    """Race, then try resuming."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="builtin:nano")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    model = resolve_model(given.model)
    checkpoint.EVERY = 0.0
    with tempfile.TemporaryDirectory(prefix="tunesmith-grpo-") as scratch:
        folder = Path(scratch)
        report(race(model, given.steps, given.seeds, folder))
        ours(model, 4, folder / "whole")
        ours(model, 4, folder / "cut", cut=2)
        ours(model, 4, folder / "cut")
        kept = same(folder / "whole/out", folder / "cut/out")
        print("ours resumes to the same bytes:", kept)
        theirs(model, 4, folder / "trl-whole")
        theirs(model, 2, folder / "trl-cut")
        theirs(model, 4, folder / "trl-cut", resume=True)
        kept = same(folder / "trl-whole/final", folder / "trl-cut/final")
        print("TRL resumes to the same bytes:", kept)


def same(first: Path, second: Path) -> bool:
    """Say whether two folders hold the same weights."""
    names = [p.name for p in first.glob("*.safetensors")]
    return bool(names) and all((first / n).read_bytes() == (second / n).read_bytes() for n in names)


if __name__ == "__main__":
    main()
