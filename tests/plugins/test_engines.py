"""Engines agree with each other, keep to what they promise, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from sampling_laws import by_definition, chi_square_p
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from tunesmith import Accelerator, Engine, Generation, ModelError, Quantizer, Sampler
from tunesmith.generation.accelerate import with_accelerators
from tunesmith.models import load_tokenizer, save_model
from tunesmith.plugins import build
from tunesmith_plugins.engines.llamacpp import _options

ROOT = Path(__file__).parents[2]
BABYLLAMA = Path(os.environ.get("TUNESMITH_SHARED", ROOT.parent / "shared")) / "models/babyllama105"
needs_babyllama = pytest.mark.skipif(not BABYLLAMA.is_dir(), reason=f"no model at {BABYLLAMA}")
EOS, OTHER_END = 1, 2
VOCABULARY = 64


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random Llama whose vocabulary holds an end of turn that is not ours."""
    torch.manual_seed(9)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=160,
        tie_word_embeddings=False, initializer_range=0.3, bos_token_id=0, eos_token_id=EOS,
    )  # fmt: skip
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[: VOCABULARY - 3]
    vocabulary = {t: i for i, t in enumerate(["<|bos|>", "<|end|>", "<|im_end|>", *letters])}
    rules = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rules, bos_token="<|bos|>", eos_token="<|end|>",
        additional_special_tokens=["<|im_end|>"],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    save_model(AutoModelForCausalLM.from_config(config), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def tiny_gguf(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny-gguf")
    build(Quantizer, {"name": "gguf", "type": "f32"}).quantize(tiny, out)
    return out


def some_prompts(count, longest=50, seed=0):
    random = Random(seed)
    return [
        [random.randrange(3, VOCABULARY) for _ in range(random.randrange(1, longest))]
        for _ in range(count)
    ]


def ask(count, sampler="greedy", new=30, stops=(EOS,), **more):
    return Generation(build(Sampler, sampler), new, more.pop("seeds", range(count)), stops, **more)


def run(engine, folder, prompts, how):
    built = engine if isinstance(engine, Engine) else build(Engine, engine)
    with built.open(folder) as opened:
        return opened.generate(prompts, how)


def ids_of(completions):
    return [completion.ids for completion in completions]


def test_llamacpp_gives_the_reference_engines_greedy_answers(tiny, tiny_gguf):
    prompts = some_prompts(60)
    ours = run("transformers", tiny, prompts, ask(60, new=60))
    theirs = run("llamacpp", tiny_gguf, prompts, ask(60, new=60))
    assert theirs == ours
    assert {answer.finish for answer in ours} == {"stop", "length"}


@needs_babyllama
def test_llamacpp_gives_the_reference_engines_greedy_answers_on_babyllama(tmp_path):
    build(Quantizer, {"name": "gguf", "type": "f32"}).quantize(BABYLLAMA, tmp_path)
    tokenizer = load_tokenizer(BABYLLAMA)
    texts = ["Once upon a time", "Tom and Sue went to the park.", "The end.", "A cat", "I am"]
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    ours = run("transformers", BABYLLAMA, prompts, ask(5, new=100))
    assert run("llamacpp", tmp_path, prompts, ask(5, new=100)) == ours


def test_an_end_of_turn_that_is_not_ours_does_not_end_an_answer(tiny, tiny_gguf):
    prompts = some_prompts(24, seed=1)
    for stops in [(), (EOS,), (OTHER_END,), (5, 9)]:
        how = ask(24, new=60, stops=stops)
        ours = run("transformers", tiny, prompts, how)
        assert ids_of(run("llamacpp", tiny_gguf, prompts, how)) == ids_of(ours)
        if stops == (EOS,):
            assert any(OTHER_END in answer.ids[:-1] for answer in ours)


SPECS = [
    {"name": "random"},
    {"name": "temperature", "temperature": 1.7},
    {"name": "top_k", "k": 6, "temperature": 1.5},
    {"name": "top_p", "p": 0.8, "temperature": 1.5},
    {"name": "min_p", "p": 0.1, "temperature": 1.5},
    {"name": "typical", "mass": 0.6, "temperature": 1.5},
    {
        "name": "repetition_penalty",
        "penalty": 1.5,
        "sampler": {"name": "top_p", "p": 0.9, "temperature": 1.5},
    },
]
MORE_SPECS = [
    "greedy",
    {"name": "typical", "mass": 0.95},
    # At this temperature most of the vocabulary has no probability left in float32.
    {"name": "typical", "mass": 0.9, "temperature": 0.02},
    {"name": "repetition_penalty", "penalty": 0.7},
    {"name": "repetition_penalty", "sampler": "greedy"},
]
SEEN = [60, 39, 58, 35, 61, 22]


@pytest.fixture(scope="module")
def opened(tiny_gguf):
    with build(Engine, "llamacpp").open(tiny_gguf) as server:
        yield server


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_llamacpp_draws_from_the_samplers_distribution(tiny, opened, spec):
    draws = 2000
    expected = draws * by_definition(spec, logits_after(tiny, SEEN), SEEN)
    # The server computes exactly; its requests come side by side, to save time.
    hasty = replace(opened, engine=build(Engine, {"name": "llamacpp", "exact": False}))
    answers = hasty.generate([SEEN] * draws, ask(draws, spec, new=1, stops=()))
    counts = np.bincount([answer.ids[0] for answer in answers], minlength=VOCABULARY)
    assert not counts[expected == 0].any()
    assert chi_square_p(counts, expected) > 1e-3


def logits_after(folder, prompt):
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder)
        return model(torch.tensor([prompt])).logits[0, -1].tolist()


@pytest.mark.parametrize("spec", [*SPECS, *MORE_SPECS], ids=str)
def test_llamacpp_states_the_probabilities_of_the_definition(tiny, opened, spec):
    """Exact where draws can only hint; on several prompts, a long one among them."""
    for prompt in [SEEN, SEEN * 20, *some_prompts(6, seed=8)]:
        request = _options(ask(1, spec), opened.context)
        request |= {"n_predict": 1, "n_probs": VOCABULARY, "post_sampling_probs": True}
        (answer,) = opened.connection.complete({**request, "prompt": prompt})
        got = np.zeros(VOCABULARY)
        for token in answer["completion_probabilities"][0]["top_probs"]:
            got[token["id"]] = token["prob"]
        named = {"name": spec} if isinstance(spec, str) else spec
        meant = by_definition(named, logits_after(tiny, prompt), prompt)
        assert got == pytest.approx(meant, abs=2e-5)


def test_a_drawn_answer_does_not_change_with_the_company_it_keeps(opened):
    prompts = some_prompts(12)
    together = opened.generate(prompts, ask(12, "random"))
    for row, prompt in enumerate(prompts):
        assert opened.generate([prompt], ask(1, "random", seeds=[row])) == [together[row]]


def test_the_same_request_gives_the_same_answers_from_another_process(tiny_gguf, opened):
    prompts = some_prompts(40, seed=3)
    for sampler in ("greedy", "random"):
        again = run("llamacpp", tiny_gguf, prompts, ask(40, sampler))
        assert again == opened.generate(prompts, ask(40, sampler))


def test_a_server_for_throughput_answers_the_same_request_too(tiny_gguf):
    fast = {"name": "llamacpp", "exact": False, "parallel": 4}
    answers = run(fast, tiny_gguf, some_prompts(10), ask(10, "random"))
    assert [answer.finish for answer in answers].count("length") < 10
    assert len(answers) == 10


def test_a_context_is_used_to_its_last_token(tiny_gguf, tiny):
    how = ask(1, new=30, stops=())
    (answer,) = run("llamacpp", tiny_gguf, [[5] * 130], how)
    assert len(answer.ids) == 30
    assert [answer] == run("transformers", tiny, [[5] * 130], how)


def test_a_cached_prefix_changes_no_answer_and_saves_evaluating_it(tiny_gguf):
    shared = some_prompts(1, seed=5, longest=2)[0] * 90
    prompts = [[*shared, *tail] for tail in some_prompts(32, longest=15, seed=6)]
    plain = build(Engine, {"name": "llamacpp", "parallel": 2})
    cached = with_accelerators(plain, [build(Accelerator, "prefix_cache")])
    how = ask(32, stops=(EOS, OTHER_END))
    with plain.open(tiny_gguf) as opened:
        without, cost = opened.generate(prompts, how), opened.counts
    with cached.open(tiny_gguf) as opened:
        with_cache, saving = opened.generate(prompts, how), opened.counts
    assert with_cache == without
    assert cost["cached"] == 0
    assert cost["evaluated"] == sum(map(len, prompts))
    assert saving["evaluated"] + saving["cached"] == cost["evaluated"]
    assert saving["cached"] >= 30 * 90


class Unheard(Sampler):
    name = "unheard"


def test_a_sampler_that_llamacpp_cannot_express_is_refused(opened):
    with pytest.raises(ModelError, match="'unheard'; use the engine 'transformers'"):
        opened.generate([[5]], Generation(Unheard(), 4, [0], ()))


@pytest.mark.parametrize(
    ("prompt", "says"),
    [([5] * 140, "may grow by 30.*holds 160"), ([], "is empty"), ([64], r"outside 0\.\.63")],
)
def test_llamacpp_refuses_what_it_cannot_answer_whole(opened, prompt, says):
    with pytest.raises(ModelError, match=says):
        opened.generate([prompt], ask(1))


def test_engines_know_what_they_can_read(tiny, tiny_gguf, tmp_path):
    reference, fast = build(Engine, "transformers"), build(Engine, "llamacpp")
    assert (reference.reads(tiny), fast.reads(tiny)) == (True, False)
    assert (reference.reads(tiny_gguf), fast.reads(tiny_gguf)) == (False, True)
    assert (reference.reads(tmp_path), fast.reads(tmp_path)) == (False, False)


def copy_of(folder, to):
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_truncated_file_is_refused_with_llamacpps_reason(tiny_gguf, tmp_path):
    broken = copy_of(tiny_gguf, tmp_path) / "model.gguf"
    broken.write_bytes(broken.read_bytes()[:-50_000])
    with pytest.raises(ModelError, match=r"cannot load .*model\.gguf.*failed to load model"):
        run("llamacpp", tmp_path, [[5]], ask(1))


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("model.gguf", "exactly one GGUF file.*found: none.*quantizer 'gguf' writes one"),
        ("config.json", "no config.json beside"),
        ("tokenizer.json", "no tokenizer beside"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(tiny_gguf, tmp_path, lost, says):
    copy_of(tiny_gguf, tmp_path)
    for name in (lost, "tokenizer_config.json") if lost == "tokenizer.json" else (lost,):
        (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=says):
        run("llamacpp", tmp_path, [[5]], ask(1))


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_leaving_the_context_ends_the_process(tiny_gguf):
    with build(Engine, "llamacpp").open(tiny_gguf) as opened:
        pid = opened.connection.process.pid
        assert alive(pid)
    assert not alive(pid)


def test_a_process_that_dies_is_reported(tiny_gguf):
    with build(Engine, "llamacpp").open(tiny_gguf) as opened:
        opened.connection.process.kill()
        with pytest.raises(ModelError, match="its process ended with -9"):
            opened.generate([[5]], ask(1))


OWNER = """
import json, sys, time
from tunesmith_plugins.engines.llamacpp_process import running
with running(json.loads(sys.argv[1])) as connection:
    print(connection.process.pid, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def owner(folder, seconds):
    """Start a process that owns a server for a while, with its outputs in our hands."""
    settings = {
        "file": str(folder / "model.gguf"), "exact": True, "parallel": 1, "threads": 1,
        "context": 160, "cache_prompt": False, "gpu_layers": 0,
    }  # fmt: skip
    command = [sys.executable, "-c", OWNER, json.dumps(settings), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_owner_leaves_no_server_behind(tiny_gguf):
    with owner(tiny_gguf, seconds=600) as process:
        pid = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


def test_llamacpp_writes_nothing_on_our_standard_error(tiny_gguf):
    with owner(tiny_gguf, seconds=0) as process:
        out, error = process.communicate()
    assert out.strip().isdigit()
    assert (error, process.returncode) == ("", 0)


def test_nobody_else_can_use_the_server(opened):
    import httpx

    address = str(opened.connection.client.base_url)
    assert address.startswith("http://127.0.0.1:")
    answer = httpx.post(f"{address}/completion", json={"prompt": [5]}, trust_env=False)
    assert answer.status_code == 401
