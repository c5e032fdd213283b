"""How fast the reference loop and llama.cpp write, against transformers' own generate().

    python benchmarks/generation_speed.py [--model FOLDER --llamacpp] [--prompts 1000] [--new 60]

All contenders get the same weights, prompts and batches (64 rows, sorted by length). In ``full``
nothing ends an answer before its limit; in ``ending`` each token ends its answer with a chance of
4 %, as answers do that end by themselves. Tokens per second count tokens kept. Figures are medians
of interleaved runs; compare within one run, since they depend on what else the machine does (``cpu
s`` depends less on it, but does not see llama.cpp's process). The last line says how much a row's
logits vary with its batch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tunesmith import Engine, Generation, Quantizer, Sampler
from tunesmith.generation.batching import fixed_batches
from tunesmith.generation.reference import generate
from tunesmith.models import load_model
from tunesmith.plugins import build

BATCH = 64
Write = Callable[[], int]


def nano_like():
    """Return a random Llama of the nano's shape: 2.9 M weights, 4 layers."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def theirs(model, prompts, new, stops) -> int:
    """Write with transformers' generate, batch by batch; return the tokens kept."""
    ends = {"do_sample": True, "eos_token_id": stops} if stops else {"min_new_tokens": new}
    total = 0
    for batch in fixed_batches(prompts, BATCH):
        rows = [prompts[i] for i in batch]
        width = max(map(len, rows))
        out = model.generate(
            input_ids=torch.tensor([[2] * (width - len(r)) + r for r in rows]),
            attention_mask=torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows]),
            **{"do_sample": False, "max_new_tokens": new, "pad_token_id": 2, **ends},
        )
        total += sum(kept(row, stops) for row in out[:, width:].tolist())
    return total


def kept(row: list[int], stops: list[int]) -> int:
    """Return how many tokens stand up to and including the first stop."""
    return next((at + 1 for at, token in enumerate(row) if token in stops), len(row))


def ours(run, prompts, new, stops, sampler) -> int:
    """Write through `run(prompts, how)`; return the tokens kept."""
    sampler = build(Sampler, sampler)
    how = Generation(sampler, new, range(len(prompts)), tuple(stops), batch_size=BATCH)
    return sum(len(answer.ids) for answer in run(prompts, how))


def medians(contenders: dict[str, Write], repeats: int) -> dict[str, tuple[float, float]]:
    """Return tokens per second and seconds of this process's CPU, medians of interleaved runs."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, write in contenders.items():
            start, cpu = time.perf_counter(), time.process_time()
            tokens = write()
            speed = tokens / (time.perf_counter() - start)
            found[name].append((speed, time.process_time() - cpu))
    return {
        name: (statistics.median(s for s, _ in runs), statistics.median(c for _, c in runs))
        for name, runs in found.items()
    }


@torch.no_grad()
def batch_error(model, prompts) -> tuple[float, float]:
    """Return the largest and the median change of a row's logits between batches of 1 and 64."""
    gaps = []
    for batch in fixed_batches(prompts, BATCH):
        rows = [prompts[i] for i in batch]
        width = max(map(len, rows))
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        together = model(
            input_ids=torch.tensor([[0] * (width - len(r)) + r for r in rows]),
            attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0), logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip
        alone = [model(torch.tensor([r]), logits_to_keep=1).logits[0, -1] for r in rows]
        gaps.append((together - torch.stack(alone)).abs().max(dim=1).values)
    every = torch.cat(gaps)
    return float(every.max()), float(every.median())


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, help="a model folder instead of a random nano")
    options.add_argument("--prompts", type=int, default=1000)
    options.add_argument("--new", type=int, default=60)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--llamacpp", action="store_true", help="llama.cpp too; needs --model")
    return options.parse_args()


def main() -> None:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    model = load_model(args.model) if args.model else nano_like()
    random, vocabulary = Random(0), model.config.vocab_size
    prompts = [
        [random.randrange(3, vocabulary) for _ in range(random.randrange(20, 60))]
        for _ in range(args.prompts)
    ]
    stops = random.sample(range(3, vocabulary), max(vocabulary // 25, 1))
    loop = partial(generate, model, decode=lambda ids: "")
    ask = (prompts, args.new)
    with ExitStack() as stack:
        contenders: dict[str, Write] = {
            "full: transformers generate": partial(theirs, model, *ask, []),
            "full: reference, greedy": partial(ours, loop, *ask, [], "greedy"),
            "full: reference, drawn": partial(ours, loop, *ask, [], "random"),
            "ending: transformers generate": partial(theirs, model, *ask, stops),
            "ending: reference, drawn": partial(ours, loop, *ask, stops, "random"),
        }
        if args.llamacpp:
            contenders |= llamacpp(stack, args, ask)
        found = medians(contenders, args.repeats)
    report(found, args, batch_error(model, prompts[:256]))


def llamacpp(stack: ExitStack, args, ask) -> dict[str, Write]:
    """Return llama.cpp's contenders; starting its process is not counted."""
    contenders: dict[str, Write] = {}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for kind in ("f32", "q8_0"):
        build(Quantizer, {"name": "gguf", "type": kind}).quantize(args.model, folder / kind)
        engine = build(Engine, {"name": "llamacpp", "threads": args.threads})
        run = stack.enter_context(engine.open(folder / kind)).generate
        for sampler, word in (("greedy", "greedy"), ("random", "drawn")):
            contenders[f"full: llamacpp {kind}, {word}"] = partial(ours, run, *ask, [], sampler)
    return contenders


def report(found: dict[str, tuple[float, float]], args, error: tuple[float, float]) -> None:
    """Print the table; a ratio is to transformers' generate on the same workload."""
    print(f"{args.prompts} prompts x {args.new} tokens, {args.threads} threads, fp32")
    for name, (speed, cpu) in found.items():
        base = found[name.partition(":")[0] + ": transformers generate"][0]
        print(f"{name:32}{speed:9.0f} tokens/s {speed / base:6.2f} x {cpu:8.1f} cpu s")
    print(f"logits, batch of 1 against 64: largest change {error[0]:.1e}, median {error[1]:.1e}")


if __name__ == "__main__":
    main()
