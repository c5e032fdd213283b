"""Real models small enough for a test: random Llamas with a tokenizer of a few sentences."""

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from random import Random

import torch

from tunesmith.models import save_model
from tunesmith.training.scratch import Architecture, new_model, train_tokenizer

# Models this small gain nothing from threads, and tests share their cores.
torch.set_num_threads(1)

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


def questions(count: int, seed: int = 0, answer: str = "") -> list[dict]:
    """Return prompt-completion rows with one short rule behind them."""
    rng = Random(seed)
    made = []
    for _ in range(count):
        word = rng.choice(["kite", "cat", "dog", "friend"]) * rng.randint(1, 3)
        made.append(
            {
                "prompt": [{"role": "user", "content": f"Say {word} twice."}],
                "completion": [{"role": "assistant", "content": answer or f"{word} {word}"}],
            }
        )
    return made


@lru_cache
def tiny_model(seed: int = 0, context: int = 128) -> Path:
    """Return a folder with a random model, made once per process."""
    folder = Path(tempfile.mkdtemp(prefix="tunesmith-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shape = SHAPE.model_copy(update={"context": context})
    tokenizer = train_tokenizer(sentences(200), shape.vocab_size, shape.context)
    save_model(new_model(shape, tokenizer, seed), tokenizer, folder)
    return folder


def weights(folder: Path) -> bytes:
    """Return the bytes of a model's weights, to compare runs."""
    return (folder / "model.safetensors").read_bytes()
