"""A real model small enough to try a technique on: a random Llama and its tokenizer."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from random import Random

from tunesmith.models import save_model
from tunesmith.training.scratch import Architecture, new_model, train_tokenizer

SHAPE = Architecture(
    hidden_size=32, intermediate_size=64, layers=2, heads=2, kv_heads=1, context=128, vocab_size=400
)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Return short texts with enough pattern to be learnt."""
    rng = Random(seed)
    who = ["Mia", "Tom", "the cat", "a dog", "my friend"]
    what = ["found", "lost", "saw", "painted"]
    return [
        f"{rng.choice(who)} {rng.choice(what)} {(n := rng.randint(2, 40))} kites,"
        f" and {n} minus one is {n - 1}."
        for _ in range(count)
    ]


@lru_cache
def tiny_model(seed: int = 0, context: int = 128) -> Path:
    """Return a folder with a random model, made once per process."""
    import torch

    # Models this small gain nothing from threads.
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="tunesmith-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shape = SHAPE.model_copy(update={"context": context})
    tokenizer = train_tokenizer(sentences(200), shape.vocab_size, shape.context)
    save_model(new_model(shape, tokenizer, seed), tokenizer, folder)
    return folder
