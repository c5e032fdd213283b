"""Real models small enough for a test: random Llamas with a tokenizer of a few sentences."""

from pathlib import Path
from random import Random

import torch

from tunesmith.contracts.tiny import SHAPE, sentences, tiny_model

__all__ = ["SHAPE", "questions", "sentences", "tiny_model", "weights"]

# Models this small gain nothing from threads, and tests share their cores.
torch.set_num_threads(1)


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


def weights(folder: Path) -> bytes:
    """Return the bytes of a model's weights, to compare runs."""
    return (folder / "model.safetensors").read_bytes()
