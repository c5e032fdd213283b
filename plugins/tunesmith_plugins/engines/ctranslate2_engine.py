"""CTranslate2: a C++ library for whole batches on a CPU, in int8 or float32, by token ids.

It reads what the quantizer `ctranslate2` writes. Greedy batches depend on the prompts alone. The
library's random numbers belong to the thread that draws them and take their seed once, when the
thread begins, so a drawn row gets a thread of its own: the model is opened again for every row,
and rows are drawn one after the other (docs/engines.md says what that costs).
Source: https://opennmt.net/CTranslate2/python/ctranslate2.Generator.html.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from tunesmith import Completion, Engine, Generation, ModelError, OpenEngine, hookimpl
from tunesmith.generation.batching import check_request, fixed_batches
from tunesmith.generation.reference import Decode, completion, decoder
from tunesmith.model_facts import read_json

FOLDER = "ctranslate2"
_FILES = ("model.bin", "config.json", "vocabulary.json")
_SMALL = 50_000_000
"""Bytes of a model whose matrices are too small to be worth sharing between cores."""
_SEEDING = threading.Lock()
"""The library has one seed for the whole process."""


class CTranslate2Engine(Engine):
    """Run a CTranslate2 folder in whole batches; for greedy answers on a CPU."""

    name = "ctranslate2"
    needs: ClassVar[tuple[str, ...]] = ("ctranslate2",)

    threads: int = Field(default=0, ge=0)
    """Threads; 0 takes one per core, and a single one for models under 50 MB."""

    @contextmanager
    def open(self, model: Path) -> Iterator[OpenEngine]:
        """Load the folder; leaving the context frees the model.

        Raises ModelError for a folder that the quantizer `ctranslate2` did not write whole, and for
        weights that give no numbers.
        """
        _check(model)
        threads = self.threads or _threads(model / FOLDER / "model.bin")
        found = OpenCTranslate2(
            model / FOLDER,
            threads,
            _words(model / FOLDER / "vocabulary.json"),
            int(read_json(model / "config.json")["max_position_embeddings"]),
            _decode(model),
            _load(model / FOLDER, threads),
        )
        found.next_logprobs([[0]], 1)  # damaged weights show at once, and not in an answer
        try:
            yield found
        finally:
            found.generator.unload_model()

    def reads(self, model: Path) -> bool:
        """Say whether the folder holds a CTranslate2 model."""
        return (model / FOLDER / "model.bin").is_file()


@dataclass(slots=True)
class OpenCTranslate2:
    """A CTranslate2 model in memory, ready to continue prompts."""

    folder: Path
    threads: int
    words: Sequence[str]
    """What the library calls each token id."""
    context: int
    decode: Decode
    generator: Any
    counts: Counter[str] = field(default_factory=Counter)
    """``batches`` run, ``drawn`` rows, tokens ``written``."""

    def generate(self, prompts: Sequence[list[int]], how: Generation) -> list[Completion]:
        """Continue each prompt (token ids); one completion per prompt, in order.

        Raises ModelError for a sampler that the library cannot express and for requests it cannot
        answer whole.
        """
        options = _options(how)
        check_request(prompts, how, self.context, len(self.words))
        write = self._draw if how.sampler.draws else self._write
        written: dict[int, list[int]] = {}
        for batch in fixed_batches(prompts, how.batch_size):
            for places in alike(batch, prompts):
                rows = write([prompts[i] for i in places], [how.seeds[i] for i in places], options)
                written.update(zip(places, rows, strict=True))
        self.counts["written"] += sum(map(len, written.values()))
        return [completion(written[i], how, self.decode) for i in range(len(prompts))]

    def next_logprobs(self, texts: Sequence[list[int]], most: int) -> list[dict[int, float]]:
        """Return the log-probabilities of the ``most`` best next tokens after each text."""
        import numpy as np

        longest = max(map(len, texts))
        found = self.generator.forward_batch([list(text) for text in texts], return_log_probs=True)
        every = np.asarray(found).astype(np.float64)[:, :longest]
        after = [every[row, len(text) - 1] for row, text in enumerate(texts)]
        if not all(np.isfinite(one).all() for one in after):
            raise ModelError(f"The model in {self.folder} gives no numbers; it is damaged.")
        best = [np.argsort(-one, kind="stable")[:most] for one in after]
        return [{int(i): float(one[i]) for i in ids} for one, ids in zip(after, best, strict=True)]

    def _write(
        self, prompts: list[list[int]], seeds: list[int], options: dict[str, Any]
    ) -> list[list[int]]:
        self.counts["batches"] += 1
        return self._run(self.generator, prompts, options)

    def _draw(
        self, prompts: list[list[int]], seeds: list[int], options: dict[str, Any]
    ) -> list[list[int]]:
        return [self._draw_one(*row, options) for row in zip(prompts, seeds, strict=True)]

    def _draw_one(self, prompt: list[int], seed: int, options: dict[str, Any]) -> list[int]:
        import ctranslate2

        with _SEEDING:
            # 2**32 - 1 means "any seed" there. The new generator's thread takes this one.
            ctranslate2.set_random_seed(seed % (2**32 - 1))
            generator = _load(self.folder, self.threads)
            (written,) = self._run(generator, [prompt], options)
        self.counts["drawn"] += 1
        return written

    def _run(
        self, generator: Any, prompts: list[list[int]], options: dict[str, Any]
    ) -> list[list[int]]:
        words = [[self.words[token] for token in prompt] for prompt in prompts]
        try:
            found = generator.generate_batch(words, **options)
        except RuntimeError as error:
            raise ModelError(f"CTranslate2 stopped: {_first_line(error)}") from error
        return [[int(token) for token in one.sequences_ids[0]] for one in found]


def alike(batch: Sequence[int], prompts: Sequence[list[int]]) -> Iterator[list[int]]:
    """Cut a batch, sorted by length, where prompts become too unequal to be read together.

    The library reads what all prompts have at once and the rest token by token; a prompt of one
    token leaves nothing to read at once, and among longer ones the library would take their rest
    for its answer.
    """
    part: list[int] = []
    for place in batch:
        shortest = len(prompts[part[0]]) if part else 0
        if part and len(prompts[place]) > (1 if shortest == 1 else 2 * shortest + 16):
            yield part
            part = []
        part.append(place)
    if part:
        yield part


def _options(how: Generation) -> dict[str, Any]:
    said = how.sampler.engine_options("ctranslate2")
    if said is None:
        raise ModelError(
            f"CTranslate2 cannot express the sampler {how.sampler.name!r};"
            " use the engine 'transformers', which runs every sampler."
        )
    return {
        "beam_size": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "min_length": 0,
        "sampling_topk": 1,
        "sampling_topp": 1.0,
        "sampling_temperature": 1.0,
        **said,
        "max_length": how.max_new_tokens,
        # An empty list: no token ends an answer, not even the model's own.
        "end_token": list(how.stop_ids),
        "return_end_token": True,
        "include_prompt_in_result": False,
    }


def _check(model: Path) -> None:
    missing = [name for name in _FILES if not (model / FOLDER / name).is_file()]
    if missing:
        raise ModelError(
            f"{model} is no CTranslate2 model: {FOLDER}/{missing[0]} is not there."
            " The quantizer 'ctranslate2' writes one."
        )
    if not (model / "config.json").is_file():
        raise ModelError(f"{model} has no config.json beside {FOLDER}; copy the model's own.")


def _load(folder: Path, threads: int) -> Any:
    try:
        import ctranslate2
    except ImportError as error:
        raise ModelError(
            "The engine ctranslate2 is not installed: `pip install 'tunesmith[ctranslate2]'`."
        ) from error
    try:
        # The precision is the file's own: int8 is never taken for float32, or the reverse.
        return ctranslate2.Generator(
            str(folder), device="cpu", compute_type="default", inter_threads=1,
            intra_threads=threads,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"CTranslate2 cannot load {folder}: {_first_line(error)}") from error


def _words(path: Path) -> list[str]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ModelError(f"{path} is not a vocabulary: {error}") from error


def _threads(file: Path) -> int:
    return 1 if file.stat().st_size < _SMALL else len(os.sched_getaffinity(0))


def _decode(model: Path) -> Decode:
    from transformers import AutoTokenizer

    try:
        return decoder(
            AutoTokenizer.from_pretrained(
                str(model), local_files_only=True, trust_remote_code=False
            )
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{model} has no tokenizer beside {FOLDER}: {error}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the technique."""
    return [CTranslate2Engine]
