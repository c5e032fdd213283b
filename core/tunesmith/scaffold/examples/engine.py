"""An engine of thirty lines: the whole text is computed again for every token, and nothing kept."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith import (
    Completion,
    Engine,
    Generation,
    OpenEngine,
    hookimpl,
    load_model,
    load_tokenizer,
)


class Example(Engine):
    """Run a Hugging Face folder without a cache: slow, and easy to understand."""

    name = "example"

    @contextmanager
    def open(self, model: Path) -> Iterator[OpenEngine]:
        """Load the folder; leaving the context frees it."""
        yield Opened(load_model(model), load_tokenizer(model))

    def reads(self, model: Path) -> bool:
        """Say whether the folder holds a config and safetensors weights."""
        return (model / "config.json").is_file() and any(model.glob("*.safetensors"))


@dataclass(frozen=True, slots=True)
class Opened:
    """A model in memory."""

    model: Any
    tokenizer: Any

    def generate(self, prompts: Sequence[list[int]], how: Generation) -> list[Completion]:
        """Continue each prompt (token ids); one completion per prompt, in order."""
        pairs = zip(prompts, how.seeds, strict=True)
        return [self._one(list(prompt), seed, how) for prompt, seed in pairs]

    def _one(self, text: list[int], seed: int, how: Generation) -> Completion:
        import torch

        chance, start = torch.Generator().manual_seed(seed), len(text)
        with torch.no_grad():
            while len(text) - start < how.max_new_tokens:
                logits = self.model(input_ids=torch.tensor([text])).logits[:, -1].float()
                text.append(_pick(how.sampler, logits, text, chance))
                if text[-1] in how.stop_ids:
                    break
        ids = text[start:]
        stopped = bool(ids) and ids[-1] in how.stop_ids
        said = self.tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=True)
        return Completion(ids, said, "stop" if stopped else "length")


def _pick(sampler: Any, logits: Any, text: list[int], chance: Any) -> int:
    import torch

    two = len(inspect.signature(sampler).parameters) > 1
    shaped = sampler(logits, [text]) if two else sampler(logits)
    if not sampler.draws:
        return int(shaped.argmax())
    return int(torch.multinomial(shaped.softmax(dim=-1), 1, generator=chance))


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engine."""
    return [Example]
