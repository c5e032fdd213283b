"""llama.cpp: its C++ server (xllamacpp) running GGUF files, by token ids.

In exact mode the key-value cache is float32, flash attention is off, nothing is shifted out of the
context, and the requests reach the server in an order that timing cannot change: greedy prompts
cross as one request per batch, drawn ones one by one, since a request has one seed and a batch's
make-up changes the last bits of the logits (docs/engines.md has the figures).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tunesmith import Completion, Engine, Generation, ModelError, OpenEngine, Token, hookimpl
from tunesmith.adapted import refuse_adapted
from tunesmith.generation.batching import check_request, fixed_batches
from tunesmith.generation.drafting import check_draft
from tunesmith.generation.reference import Decode, completion, decoder
from tunesmith.model_facts import read_json
from tunesmith.models import resolve_model
from tunesmith_plugins.engines.llamacpp_process import Connection, running
from tunesmith_plugins.engines.llamacpp_stream import Stream

_LONGEST = 8192
_CACHES = 2**30
"""Bytes that the caches of all sequences together may take when their number is chosen."""
_SMALL = 50_000_000
"""Bytes of a model whose matrices are too small to be worth sharing between cores."""

_NEUTRAL: dict[str, Any] = {
    "samplers": [],
    "temperature": 1.0,
    "dynatemp_range": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "repeat_penalty": 1.0,
    "repeat_last_n": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
    "mirostat": 0,
    "adaptive_target": -1.0,
    "min_keep": 0,
    "ignore_eos": False,
    "logit_bias": [],
}
"""llama.cpp's own sampler settings, all switched off."""


class LlamaCpp(Engine):
    """Run a GGUF file with llama.cpp in a process of its own."""

    name = "llamacpp"
    needs: ClassVar[tuple[str, ...]] = ("xllamacpp", "httpx")

    exact: bool = True
    """Answers that do not depend on timing; switch it off where only throughput counts."""
    parallel: int = Field(default=8, ge=1, le=256)
    """Sequences decoded together."""
    threads: int = Field(default=0, ge=0)
    """Threads; 0 takes one per core, and a single one for models under 50 MB."""
    spin: int = Field(default=10_000, ge=0)
    """How often a thread that waits for another looks again before it sleeps; less is better beside
    other busy programs, where 300,000 (the library's own) can cost nine tenths of the speed."""
    context: int = Field(default=0, ge=0)
    """Tokens per sequence; 0 takes the model's own, at most 8192."""
    cache_prompt: bool = False
    """Keep a sequence's prompt for the next one that begins alike (see `prefix_cache`)."""
    gpu_layers: int = Field(default=0, ge=0)
    """Layers held by a GPU, for builds of llama.cpp that have one."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """Flash attention; `auto` is off in exact mode, else llama.cpp's choice."""
    lookup: int = Field(default=0, ge=0, le=64)
    """Tokens guessed from the text itself (see `speculative_prompt_lookup`); 0 guesses none."""
    lookup_after: int = Field(default=3, ge=1, le=16)
    """Tokens that must have stood in the text before, for a guess at what follows."""
    draft: str | None = None
    """A folder whose smaller GGUF file guesses (see `speculative_draft_model`)."""
    draft_tokens: int = Field(default=4, ge=1, le=64)
    """Tokens that the smaller model writes ahead."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.exact and self.flash_attention == "on":
            raise ValueError(
                "flash attention changes the last bits of an answer with the company it keeps;"
                " set exact: false where only throughput counts"
            )
        if self.lookup and self.draft:
            raise ValueError("guesses come from the text (lookup) or from a draft model, not both")
        return self

    @contextmanager
    def open(self, model: Path) -> Iterator[OpenEngine]:
        """Start the server on the folder's GGUF file; leaving the context ends the process.

        Raises ModelError when the folder does not hold exactly one GGUF file with its tokenizer
        and config, or when llama.cpp cannot load it.
        """
        file = _only_file(model)
        context, vocabulary = _limits(model)
        settings = {
            "file": str(file),
            "exact": self.exact,
            "parallel": self.parallel,
            "threads": self.threads or _threads(file),
            "spin": self.spin,
            "context": self.context or min(context, _LONGEST),
            "cache_prompt": self.cache_prompt,
            "gpu_layers": self.gpu_layers,
            "flash_attention": self.flash_attention,
            "lookup": self.lookup,
            "lookup_after": self.lookup_after,
            "draft": str(self._draft(model)) if self.draft else None,
            "draft_tokens": self.draft_tokens,
        }
        with running(settings) as connection:
            limit = min(context, settings["context"])
            yield OpenLlamaCpp(self, connection, _decode(model), limit, vocabulary, model)

    def _draft(self, model: Path) -> Path:
        folder = resolve_model(self.draft or "")
        file = _only_file(folder)
        check_draft(folder, model)
        return file

    def suited(self, model: Path, streams: int) -> Engine:
        """Return the engine with a sequence per answer, as far as their caches fit in 1 GiB."""
        room = _CACHES // _cache_bytes(model, self.context)
        return self.model_copy(update={"parallel": max(1, min(streams, room, 64))})

    def reads(self, model: Path) -> bool:
        """Say whether the folder holds exactly one GGUF file."""
        return len(list(model.glob("*.gguf"))) == 1


@dataclass(slots=True)
class OpenLlamaCpp:
    """A llama.cpp server ready to continue prompts."""

    engine: LlamaCpp
    connection: Connection
    decode: Decode
    context: int
    vocabulary: int
    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    """Tokens so far: ``evaluated`` of prompts, ``cached`` of prompts, ``written``, ``proposed`` and
    ``accepted`` by speculation; ``target_steps`` and ``plain_steps`` are summed over rows."""

    def generate(self, prompts: Sequence[list[int]], how: Generation) -> list[Completion]:
        """Continue each prompt (token ids); one completion per prompt, in order.

        Raises ModelError for a sampler that llama.cpp cannot express and for requests it cannot
        answer whole.
        """
        options = _options(how, self.context)
        check_request(prompts, how, self.context, self.vocabulary)
        written: dict[int, list[int]] = {}
        for batch in fixed_batches(prompts, how.batch_size):
            rows = self._batch(
                [prompts[i] for i in batch], [how.seeds[i] for i in batch], how, options
            )
            written.update(zip(batch, rows, strict=True))
        return [completion(written[i], how, self.decode) for i in range(len(prompts))]

    def stream(self, prompt: list[int], how: Generation, top: int | None = None) -> Iterator[Token]:
        """Yield the tokens of one answer as llama.cpp writes them, see `llamacpp_stream`."""
        options = _options(how, self.context)
        check_request([prompt], how, self.context, self.vocabulary)
        return Stream(self, self.connection, self.folder, options, how, top).tokens(prompt)

    def next_logprobs(self, texts: Sequence[list[int]], most: int) -> list[dict[int, float]]:
        """Return the log-probabilities of the ``most`` best next tokens after each text."""
        request = {**_NEUTRAL, "prompt": list(texts), "n_predict": 1, "n_probs": most}
        # An end of turn, or a part of a letter, would report nothing: a whole one is forced. What
        # is reported is from before any bias.
        letter = next(i for i in range(self.vocabulary) if _is_printable(self.decode([i])))
        request |= {"logit_bias": [[letter, 1e6]], "return_tokens": True, "stream": False}
        return [
            {int(one["id"]): float(one["logprob"]) for one in place["top_logprobs"]}
            for answer in self.connection.complete(request)
            for place in answer["completion_probabilities"][:1]
        ]

    def _batch(
        self, prompts: list[list[int]], seeds: list[int], how: Generation, options: dict[str, Any]
    ) -> list[list[int]]:
        request = {**options, "n_predict": how.max_new_tokens}
        if not how.sampler.draws:
            answers = self.connection.complete({**request, "prompt": prompts})
        elif self.engine.exact:
            answers = [self._one(request, *row) for row in zip(prompts, seeds, strict=True)]
        else:
            with ThreadPoolExecutor(self.engine.parallel) as pool:
                answers = list(pool.map(lambda p, s: self._one(request, p, s), prompts, seeds))
        return [
            self._finish(answer, prompt, seed, how, options)
            for answer, prompt, seed in zip(answers, prompts, seeds, strict=True)
        ]

    def _one(self, request: dict[str, Any], prompt: list[int], seed: int) -> dict[str, Any]:
        # 2**32 - 1 means "any seed" there.
        seeded = {**request, "prompt": prompt, "seed": seed % (2**32 - 1)}
        return self.connection.complete(seeded)[0]

    def _finish(
        self,
        answer: dict[str, Any],
        prompt: list[int],
        seed: int,
        how: Generation,
        options: dict[str, Any],
    ) -> list[int]:
        """Return the row's tokens up to one of *our* stop tokens, or to the limit.

        llama.cpp stops at every token whose name it takes for an end of turn; where we do not,
        the row goes on.
        """
        ids = self._read(answer)
        while True:
            ends = [at for at, token in enumerate(ids) if token in how.stop_ids]
            if ends:
                return ids[: ends[0] + 1]
            left = how.max_new_tokens - len(ids)
            if left <= 0:
                return ids
            request = {**options, "n_predict": left}
            ids = ids + self._read(self._one(request, prompt + ids, seed + len(ids)))

    def _read(self, answer: dict[str, Any]) -> list[int]:
        timings, ids = answer["timings"], [int(token) for token in answer["tokens"]]
        if not ids:
            raise ModelError("llama.cpp returned no tokens; its context is too small.")
        accepted = timings.get("draft_n_accepted", 0)
        self.counts.update(
            evaluated=timings["prompt_n"],
            cached=timings["cache_n"],
            written=len(ids),
            proposed=timings.get("draft_n", 0),
            accepted=accepted,
            plain_steps=len(ids),
            target_steps=len(ids) - accepted,
        )
        return ids


def _is_printable(text: str) -> bool:
    return bool(text.strip()) and text.isascii() and text.isprintable()


def _options(how: Generation, context: int) -> dict[str, Any]:
    said = how.sampler.engine_options("llamacpp")
    if said is None:
        raise ModelError(
            f"llama.cpp cannot express the sampler {how.sampler.name!r};"
            " use the engine 'transformers', which runs every sampler."
        )
    options = {**_NEUTRAL, **said, "return_tokens": True, "stream": False}
    # -1 is llama.cpp's word for the whole context; its server takes nothing but the number.
    if options["repeat_last_n"] == -1:
        options["repeat_last_n"] = context
    return options


def _only_file(model: Path) -> Path:
    refuse_adapted(model, "llamacpp runs GGUF files")
    found = sorted(model.glob("*.gguf"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise ModelError(
        f"{model} must hold exactly one GGUF file for llama.cpp; found: {names}."
        " The quantizer 'gguf' writes one."
    )


def _limits(model: Path) -> tuple[int, int]:
    """Return the model's context and vocabulary, in tokens."""
    path = model / "config.json"
    if not path.is_file():
        raise ModelError(f"{model} has no config.json beside its GGUF file; copy the model's own.")
    config = json.loads(path.read_text(encoding="utf-8"))
    return int(config["max_position_embeddings"]), int(config["vocab_size"])


def _cache_bytes(model: Path, context: int) -> int:
    """Return what one sequence's key-value cache may take, float32, by the model's config."""
    config = read_json(model / "config.json")
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    per_token = (
        8 * config["num_hidden_layers"] * width * (config.get("num_key_value_heads") or heads)
    )
    tokens = context or min(int(config["max_position_embeddings"]), _LONGEST)
    return int(per_token * tokens)


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
        raise ModelError(f"{model} has no tokenizer beside its GGUF file: {error}") from error


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the technique."""
    return [LlamaCpp]
