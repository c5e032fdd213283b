"""Tunesmith's own GRPO loop against TRL's GRPOTrainer: CPU seconds per step, and resuming.

    python benchmarks/grpo_against_trl.py MODEL_FOLDER [STEPS]

The same model, prompts, group size, answer length and rule reward for both, one thread each. CPU
time is compared, so that other work on the machine does not count. Resuming: train 4 steps, and 2
steps that go on from a checkpoint for 2 more; the weights must be the same bytes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch

from tunesmith import TrainingJob
from tunesmith.models import load_model, load_tokenizer
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


def ours(model: Path, steps: int, folder: Path, stop_after: int | None = None) -> list[float]:
    """Return the CPU seconds of every step."""
    how = Grpo(
        steps=steps, prompts_per_step=PROMPTS, num_generations=GROUP, schedule="constant",
        max_completion_length=LONGEST, learning_rate=RATE, dtype="float32", max_kl=None,
    )  # fmt: skip
    job = TrainingJob(
        rows=rows(), out=folder / "out", work=folder / "work", seed=1, model_dir=model,
        adapter=Lora(r=16), reward=rule,
    )  # fmt: skip
    marks = [time.process_time()]
    job.report = lambda point: marks.append(time.process_time())
    if stop_after is not None:
        job.should_stop = lambda: len(marks) > stop_after
    try:
        how.train(job)
    except Exception as error:
        if stop_after is None:
            raise
        print("  stopped:", error)
    return [b - a for a, b in pairwise(marks)]


def theirs(model: Path, steps: int, folder: Path, resume: bool = False) -> list[float]:
    """Return the CPU seconds of every step."""
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

    args = GRPOConfig(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP, max_completion_length=LONGEST, learning_rate=RATE, beta=0.04,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", seed=1,
        save_strategy="steps", save_steps=2, logging_steps=1, lr_scheduler_type="constant",
        disable_tqdm=True, loss_type="dr_grpo", save_only_model=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=load_model(model), args=args, processing_class=load_tokenizer(model),
        reward_funcs=lambda completions, **_: rule(None, [c[0]["content"] for c in completions]),
        train_dataset=Dataset.from_list(rows()), callbacks=[Clock()],
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model(str(folder / "final"))
    return [b - a for a, b in pairwise(marks)]


def main() -> None:
    """Run both and print what they took."""
    model, steps = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4
    folder = Path(tempfile.mkdtemp())
    checkpoint.EVERY = 0.0
    started = time.process_time()
    mine = ours(model, steps, folder / "ours")
    print(f"ours  {json.dumps([round(s, 2) for s in mine])}")
    import trl.trainer.grpo_trainer  # noqa: F401

    imported = time.process_time()
    other = theirs(model, steps, folder / "theirs")
    print(f"TRL   {json.dumps([round(s, 2) for s in other])}")
    print(f"TRL's import {imported - started - sum(mine):.1f} s of CPU (ours included its set-up)")
    ours(model, 4, folder / "whole")
    ours(model, 4, folder / "cut", stop_after=2)
    ours(model, 4, folder / "cut")
    print("ours resumes to the same bytes:", same(folder / "whole/out", folder / "cut/out"))
    theirs(model, 4, folder / "trl-whole")
    theirs(model, 2, folder / "trl-cut")
    theirs(model, 4, folder / "trl-cut", resume=True)
    print(
        "TRL resumes to the same bytes:", same(folder / "trl-whole/final", folder / "trl-cut/final")
    )


def same(first: Path, second: Path) -> bool:
    """Say whether two folders hold the same weights."""
    names = [p.name for p in first.glob("*.safetensors")]
    return bool(names) and all((first / n).read_bytes() == (second / n).read_bytes() for n in names)


if __name__ == "__main__":
    main()
