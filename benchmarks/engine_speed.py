"""The engine that Tunesmith picks, against the fastest library called directly (int8 allowed).

A Llama of 135 M parameters with random weights answers 1, 8 and 32 prompts of 64 tokens with 64 new
tokens each, greedily; no token ends an answer. Three libraries are called without Tunesmith:
transformers' eager fp32 `generate`, CTranslate2 in int8, and xllamacpp with a q8_0 file, its own
defaults but for one sequence per stream. Tunesmith measures the engines that run the model as it
is, and what its quantizers `gguf` (q8_0) and `ctranslate2` (int8) make of it, and picks one; then
all run side by side in interleaved rounds. For every workload the pick must be as fast as the
fastest library, within 5 %: the median over the rounds of (pick / library), both of one round.

Like is compared with like: both sides may use int8, both run the same files, and since xllamacpp's
defaults (f16 cache, flash attention) are not exact, llama.cpp with `exact: false` may be picked
too. The full-precision engines are listed besides. Exit code 1: the promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from tunesmith import Quantizer
from tunesmith.generation.engine_choice import Candidate, Choice, choose
from tunesmith.generation.racing import Workload, asked, prompts
from tunesmith.models import save_model
from tunesmith.plugins import build

SHAPES = {
    "full": {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152},
    "small": {"hidden_size": 288, "num_hidden_layers": 8, "num_attention_heads": 9,
              "num_key_value_heads": 3, "intermediate_size": 768, "vocab_size": 16384},
}  # fmt: skip
QUANTIZERS = ({"name": "gguf", "type": "q8_0"}, {"name": "ctranslate2", "quantization": "int8"})
ENGINES: tuple[Any, ...] = (
    "transformers", "llamacpp", {"name": "llamacpp", "exact": False}, "ctranslate2",
)  # fmt: skip
CONTEXT = 256
ALLOWED = 0.95
Write = Callable[[], int]
"""Answers every prompt once and returns how many new tokens that were."""


def random_model(shape: dict[str, int], folder: Path) -> None:
    """Write a model with random weights, and a tokenizer of as many words."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    rest = [f"word{number}" for number in range(shape["vocab_size"] - len(letters) - 2)]
    words = {word: place for place, word in enumerate(["<|bos|>", "<|end|>", *letters, *rest])}
    rules = Tokenizer(models.BPE(vocab=words, merges=[]))
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rules, bos_token="<|bos|>", eos_token="<|end|>"
    )
    save_model(AutoModelForCausalLM.from_config(config), tokenizer, folder)


def by_transformers(folder: Path, work: list[list[int]], new: int) -> Write:
    """Call transformers' own `generate`, eager attention, fp32."""
    torch.set_num_threads(cores())
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    ids = torch.tensor(work)
    mask = torch.ones_like(ids)

    def write() -> int:
        with torch.no_grad():
            out = model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=new, min_new_tokens=new,
                pad_token_id=0,
            )  # fmt: skip
        return out[:, ids.shape[1] :].numel()

    return write


def by_ctranslate2(folder: Path, work: list[list[int]], new: int) -> Write:
    """Call CTranslate2's `generate_batch` on all cores."""
    import ctranslate2

    generator = ctranslate2.Generator(str(folder / "ctranslate2"), intra_threads=cores())
    words = json.loads((folder / "ctranslate2" / "vocabulary.json").read_text(encoding="utf-8"))
    asked_for = [[words[token] for token in prompt] for prompt in work]

    def write() -> int:
        done = generator.generate_batch(
            asked_for, max_length=new, min_length=new, include_prompt_in_result=False
        )
        return sum(len(one.sequences_ids[0]) for one in done)

    return write


def by_xllamacpp(folder: Path, work: list[list[int]], new: int) -> Write:
    """Call xllamacpp's server object, one sequence per stream, all cores."""
    import xllamacpp

    found = xllamacpp.CommonParams()
    found.model.path = str(folder / "model.gguf")
    found.n_parallel = len(work)
    found.n_ctx = CONTEXT * len(work)
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = cores()
    found.verbosity = 0
    server = xllamacpp.Server(found)
    request = {
        "prompt": work, "max_tokens": new, "n_predict": new, "temperature": 0.0,
        "ignore_eos": True, "cache_prompt": False,
    }  # fmt: skip

    def write() -> int:
        answer = server.handle_completions(request)
        return int(answer["usage"]["completion_tokens"])

    return write


DIRECT = {
    "transformers, direct": (by_transformers, None),
    "CTranslate2 int8, direct": (by_ctranslate2, "ctranslate2"),
    "xllamacpp q8_0, direct": (by_xllamacpp, "gguf"),
}


@contextmanager
def apart(name: str, folder: Path, work: list[list[int]], new: int) -> Iterator[Write]:
    """Give a library a process of its own: idle threads of one slow down another beside it."""
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=_serve, args=(theirs, name, folder, work, new), daemon=True)
    process.start()
    theirs.close()

    def write() -> int:
        ours.send("go")
        return int(ours.recv())

    try:
        yield write
    finally:
        ours.close()
        process.join(20)
        process.kill()


def _serve(pipe: Any, name: str, folder: Path, work: list[list[int]], new: int) -> None:
    write = DIRECT[name][0](folder, work, new)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(write())


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def picked(folder: Path, made: dict[str, Path], choice: Choice, stack: ExitStack) -> Write:
    """Return Tunesmith's pick, running the files the direct libraries run."""
    pick, workload = choice.pick, choice.workload
    maker = build(Quantizer, pick.quantizer) if pick.quantizer else None
    if maker is not None:
        ready = made[maker.name]
    else:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ready = Candidate(choice.engine).folder(folder, scratch)
    opened = stack.enter_context(choice.engine.open(ready))
    work, how = prompts(workload, vocabulary_of(folder)), asked(workload)
    return lambda: sum(len(one.ids) for one in opened.generate(work, how))


def vocabulary_of(folder: Path) -> int:
    """Return how many tokens the model knows."""
    return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"])


def rounds_of(contenders: dict[str, Write], rounds: int) -> dict[str, list[float]]:
    """Return tokens per second of each, round by round; the order turns."""
    names = list(contenders)
    for name in names:
        contenders[name]()
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            tokens = contenders[name]()
            found[name].append(tokens / (time.perf_counter() - began))
    return found


def measured(
    folder: Path, made: dict[str, Path], workload: Workload, rounds: int
) -> dict[str, Any]:
    """Return what one workload showed."""
    choice = choose(folder, workload, ENGINES, QUANTIZERS, again=True, rounds=rounds)
    with ExitStack() as stack:
        work = prompts(workload, vocabulary_of(folder))
        contenders: dict[str, Write] = {"pick": picked(folder, made, choice, stack)}
        for name, (_, needs) in DIRECT.items():
            source = made[needs] if needs else folder
            contenders[name] = stack.enter_context(apart(name, source, work, workload.new))
        found = rounds_of(contenders, rounds)
    ratios = {
        name: statistics.median(a / b for a, b in zip(found["pick"], found[name], strict=True))
        for name in DIRECT
    }
    return {
        "streams": workload.streams,
        "pick": choice.pick.label,
        "measured_by_tunesmith": choice.facts()["tokens_per_second"],
        "dropped": choice.facts()["dropped"],
        "tokens_per_second": {name: statistics.median(rates) for name, rates in found.items()},
        "pick_against": ratios,
        "kept": min(ratios.values()) >= ALLOWED,
    }


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Print one block per workload."""
    print(title)
    for row in rows:
        print(f"\n{row['streams']} streams: Tunesmith picks {row['pick']}")
        for name, rate in row["measured_by_tunesmith"].items():
            print(f"  measured  {name:34}{rate:9.1f} tokens/s")
        for name, reason in row["dropped"].items():
            print(f"  dropped   {name}: {reason}")
        for name, rate in row["tokens_per_second"].items():
            ratio = row["pick_against"].get(name)
            told = "" if ratio is None else f"   pick / it {ratio:5.2f}"
            print(f"  raced     {name:34}{rate:9.1f} tokens/s{told}")
        print(f"  {'kept' if row['kept'] else 'NOT KEPT'}: at least {ALLOWED} of the fastest")


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--shape", choices=SHAPES, default="full")
    options.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")],
                         default=[1, 8, 32])  # fmt: skip
    options.add_argument("--prompt", type=int, default=64)
    options.add_argument("--new", type=int, default=64)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true")
    return options.parse_args()


def main() -> int:
    """Measure, print, and return the exit code."""
    args = arguments()
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as place:
        os.environ["TUNESMITH_HOME"] = home
        folder = Path(place) / "model"
        random_model(SHAPES[args.shape], folder)
        made = {}
        for spec in QUANTIZERS:
            made[spec["name"]] = Path(place) / spec["name"]
            build(Quantizer, spec).quantize(folder, made[spec["name"]])
        ask = partial(Workload, prompt=args.prompt, new=args.new)
        rows = []
        for streams in args.streams:
            rows.append(measured(folder, made, ask(streams), args.rounds))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    kept = all(row["kept"] for row in rows)
    if args.json:
        print(json.dumps({"shape": SHAPES[args.shape], "rows": rows, "kept": kept}, indent=2))
    else:
        show(rows, f"{args.shape} shape, {args.prompt} + {args.new} tokens, {cores()} cores")
        print("\nThe promise is kept." if kept else "\nThe promise is NOT kept.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
