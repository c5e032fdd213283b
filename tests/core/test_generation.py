"""The reference loop says what transformers says, and a row's answer is its own."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    T5Config,
    T5ForConditionalGeneration,
)

from tunesmith import Accelerator, Engine, Generation, ModelError, Sampler
from tunesmith.errors import ConfigError, Stopped
from tunesmith.generation.accelerate import with_accelerators
from tunesmith.generation.answers import answer_prompts, check_expressible, row_seed
from tunesmith.generation.drawing import pick_by_chance, uniforms
from tunesmith.generation.reference import decoder, generate
from tunesmith.generation.scoring import score_logprobs
from tunesmith.models import load_model, load_tokenizer
from tunesmith.plugins import build

ROOT = Path(__file__).parents[2]
BABYLLAMA = Path(os.environ.get("TUNESMITH_SHARED", ROOT.parent / "shared")) / "models/babyllama105"
EOS = 1
TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": EOS,
    "pad_token_id": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**TINY),
    "qwen2": Qwen2Config(**TINY),
    "mistral, sliding window": MistralConfig(**TINY, sliding_window=16),
    "gpt2": GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=128, eos_token_id=EOS,
        bos_token_id=0, initializer_range=0.3,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(kind="llama"):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[kind])).eval()


@pytest.fixture(scope="module")
def llama():
    return tiny()


def some_prompts(count, longest=40, vocabulary=97, seed=0):
    random = Random(seed)
    return [
        [random.randrange(3, vocabulary) for _ in range(random.randrange(1, longest))]
        for _ in range(count)
    ]


def ask(count, sampler="greedy", new=24, **more):
    settings = {"seeds": range(count), "stop_ids": (EOS,)} | more
    return Generation(build(Sampler, sampler), new, **settings)


def ids_of(completions):
    return [completion.ids for completion in completions]


def their_greedy(model, prompts, new, eos):
    width = max(map(len, prompts))
    out = model.generate(
        input_ids=torch.tensor([[2] * (width - len(p)) + p for p in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=eos,
        pad_token_id=2,
    )
    rows = [row[width:].tolist() for row in out]
    return [row[: row.index(eos) + 1] if eos in row else row for row in rows]


@pytest.mark.parametrize("kind", CONFIGS)
def test_greedy_answers_equal_those_of_transformers_generate(kind):
    model, prompts = tiny(kind), some_prompts(40)
    ours = generate(model, prompts, ask(40, new=40, batch_size=16), str)
    assert ids_of(ours) == their_greedy(model, prompts, 40, EOS)


@pytest.mark.skipif(not BABYLLAMA.is_dir(), reason=f"no model at {BABYLLAMA}")
def test_greedy_answers_on_babyllama_equal_those_of_transformers_generate():
    model, tokenizer = load_model(BABYLLAMA), load_tokenizer(BABYLLAMA)
    texts = ["Once upon a time", "Tom and Sue went to the park.", "The end.", "A cat sat", "She"]
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    ours = generate(model, prompts, ask(5, new=100), decoder(tokenizer))
    assert ids_of(ours) == their_greedy(model, prompts, 100, EOS)
    assert ours[0].text == tokenizer.decode(ours[0].ids)


@pytest.mark.parametrize("sampler", ["greedy", {"name": "temperature", "temperature": 1.5}])
def test_a_rows_answer_does_not_change_with_the_company_it_keeps(llama, sampler):
    prompts = some_prompts(30)
    together = generate(llama, prompts, ask(30, sampler), str)
    for row, prompt in enumerate(prompts):
        alone = generate(llama, [prompt], ask(1, sampler, seeds=[row]), str)
        assert alone[0].ids == together[row].ids


def test_the_same_request_gives_the_same_tokens_in_any_order(llama):
    prompts, order = some_prompts(50), list(range(50))
    Random(1).shuffle(order)
    straight = generate(llama, prompts, ask(50, "random"), str)
    shuffled = generate(llama, [prompts[i] for i in order], ask(50, "random", seeds=order), str)
    assert ids_of(shuffled) == [straight[i].ids for i in order]


def test_one_prompt_with_many_seeds_gives_many_answers(llama):
    answers = generate(llama, [[5, 6, 7]] * 20, ask(20, "random", new=8), str)
    assert len({tuple(answer.ids) for answer in answers}) == 20


def test_a_longer_limit_only_adds_tokens(llama):
    prompts = some_prompts(10)
    short = generate(llama, prompts, ask(10, "random", new=5), str)
    long = generate(llama, prompts, ask(10, "random", new=30), str)
    assert ids_of(short) == [answer.ids[:5] for answer in long]


def test_an_answer_ends_with_its_stop_token_and_its_text_without(llama):
    stops = tuple(range(0, 97, 2))
    answers = generate(llama, some_prompts(20), ask(20, "random", stop_ids=stops), repr)
    stopped = [answer for answer in answers if answer.finish == "stop"]
    assert stopped
    for answer in stopped:
        assert answer.ids[-1] in stops
        assert not set(answer.ids[:-1]) & set(stops)
        assert answer.text == repr(answer.ids[:-1])


def test_an_answer_that_reaches_the_limit_says_so(llama):
    answers = generate(llama, some_prompts(5), ask(5, new=7, stop_ids=()), str)
    assert {(len(answer.ids), answer.finish) for answer in answers} == {(7, "length")}


def test_a_context_is_used_to_its_last_token(llama):
    (answer,) = generate(llama, [[5] * 100], ask(1, new=28, stop_ids=()), str)
    assert len(answer.ids) == 28


@pytest.mark.parametrize(
    ("prompts", "changes", "says"),
    [
        ([[5], [5] * 120], {}, "Prompt 1 has 120 tokens and may grow by 24.*context holds 128"),
        ([[5] * 120], {}, "lower max_new_tokens to 8"),
        ([[5], []], {}, "Prompt 1 is empty"),
        ([[5, 97]], {}, r"outside 0\.\.96"),
        ([[5, -1]], {}, "another model's tokenizer"),
        ([[5]], {"seeds": [1, 2]}, "1 prompts came with 2 seeds"),
        ([[5]], {"new": 0}, "max_new_tokens"),
    ],
)
def test_a_request_that_cannot_be_answered_whole_is_refused(llama, prompts, changes, says):
    with pytest.raises(ModelError, match=says):
        generate(llama, prompts, ask(len(prompts), **changes), str)


@pytest.mark.parametrize("sampler", ["greedy", "random"])
def test_logits_that_are_not_numbers_are_an_error(sampler):
    broken = tiny()
    broken.lm_head.weight.data[5] = math.nan
    with pytest.raises(ModelError, match="not numbers in 3 of 3 rows"):
        generate(broken, some_prompts(3), ask(3, sampler), str)


class RulesOutEverything(Sampler):
    name = "rules_out_everything"

    def __call__(self, logits):
        return torch.full_like(logits, float("-inf"))


class Shrinks(Sampler):
    name = "shrinks"

    def __call__(self, logits):
        return logits[:, :5]


class Remembers(Sampler):
    """Never write a token that the row already holds."""

    name = "remembers"
    draws = False

    def __call__(self, logits, tokens):
        logits = logits.clone()
        for row, seen in enumerate(tokens):
            logits[row, seen] = float("-inf")
        return logits


@pytest.mark.parametrize(
    ("sampler", "says"),
    [(RulesOutEverything(), "ruled out every token"), (Shrinks(), "'shrinks' must return logits")],
)
def test_a_sampler_that_breaks_its_promise_is_named(llama, sampler, says):
    with pytest.raises(ModelError, match=says):
        generate(llama, [[5, 6]], Generation(sampler, 4, [0], ()), str)


def test_a_sampler_may_look_at_the_tokens_so_far(llama):
    prompts = some_prompts(12, longest=20)
    answers = generate(llama, prompts, Generation(Remembers(), 30, [0] * 12, (EOS,)), str)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert len(set(answer.ids)) == len(answer.ids)
        assert not set(answer.ids) & set(prompt)


def test_an_encoder_decoder_is_refused():
    config = T5Config(vocab_size=97, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(ModelError, match="encoder-decoder"):
        generate(T5ForConditionalGeneration(config), [[5]], ask(1), str)


def test_a_model_in_training_goes_on_training_afterwards():
    model = tiny().train()
    generate(model, [[5, 6]], ask(1), str)
    assert model.training
    model(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor([[5, 6]])).loss.backward()
    assert model.lm_head.weight.grad is not None


def test_a_model_under_an_adapter_answers_as_the_merged_one():
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted, prompts = get_peft_model(tiny(), config).eval(), some_prompts(8)
    ours = generate(adapted, prompts, ask(8), str)
    merged = copy.deepcopy(adapted).merge_and_unload()
    assert ids_of(ours) == their_greedy(merged, prompts, 24, EOS)


def test_the_logits_of_a_row_vary_with_its_batch_only_in_the_last_bits(llama):
    prompts = some_prompts(32)
    starts = [1] * 32
    alone = [score_logprobs(llama, [p], [1], 1)[0].per_token for p in prompts if len(p) > 1]
    batched = [s.per_token for s in score_logprobs(llama, prompts, starts, 32) if s.per_token]
    gaps = [abs(a - b) for x, y in zip(alone, batched, strict=True)
            for a, b in zip(x, y, strict=True)]  # fmt: skip
    assert max(gaps) < 1e-4


def test_scores_are_the_log_probabilities_of_the_completion(llama):
    rows, starts = [[5, 6, 7, 8, 9], [11, 12, 13]], [3, 1]
    for row, start, score in zip(rows, starts, score_logprobs(llama, rows, starts), strict=True):
        with torch.no_grad():
            logs = llama(torch.tensor([row])).logits[0].double().log_softmax(-1)
        expected = [float(logs[at - 1, row[at]]) for at in range(start, len(row))]
        assert score.per_token == pytest.approx(expected, abs=1e-4)
        assert score.total == pytest.approx(sum(expected), abs=1e-4)


@pytest.mark.parametrize("start", [0, 4])
def test_a_completion_that_begins_nowhere_is_refused(llama, start):
    with pytest.raises(ModelError, match="must begin at 1 to 3"):
        score_logprobs(llama, [[5, 6, 7]], [start])


def test_each_seed_has_a_stream_of_its_own():
    both = uniforms([1, 2**62], 1000)
    assert torch.equal(both[1:], uniforms([2**62], 1000))
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.1


def test_a_token_without_probability_is_never_drawn():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 1.0, -math.inf]] * 3)
    almost_one = math.nextafter(1.0, 0.0)
    chance = torch.tensor([0.0, 0.5, almost_one], dtype=torch.float64)
    assert pick_by_chance(logits, chance).tolist() == [1, 3, 3]


class OpenReference:
    """The reference loop behind an engine's face, as stages see it."""

    def __init__(self, model, tokenizer):
        self.model, self.decode = model, decoder(tokenizer)

    def generate(self, prompts, how):
        return generate(self.model, prompts, how, self.decode)


@pytest.mark.skipif(not BABYLLAMA.is_dir(), reason=f"no model at {BABYLLAMA}")
class TestAnswers:
    @pytest.fixture(scope="class")
    def opened(self):
        tokenizer = load_tokenizer(BABYLLAMA)
        return OpenReference(load_model(BABYLLAMA), tokenizer), tokenizer

    def answers(self, opened, count, **more):
        talks = [[{"role": "user", "content": f"Tell me of {n} cats"}] for n in range(count)]
        settings = {"sampler": build(Sampler, "random"), "max_new_tokens": 12, "seed": 7} | more
        return answer_prompts(*opened, talks, **settings)

    def test_a_rows_answer_does_not_depend_on_how_many_there_are(self, opened):
        few, many = self.answers(opened, 3), self.answers(opened, 12)
        assert ids_of(few) == ids_of(many[:3])

    def test_chunks_are_reported(self, opened):
        seen = []
        self.answers(opened, 7, chunk=3, report=seen.append)
        assert seen == [{"step": 3, "steps": 7}, {"step": 6, "steps": 7}, {"step": 7, "steps": 7}]

    def test_a_wish_to_stop_is_heard_between_chunks(self, opened):
        wishes = iter([False, True])
        with pytest.raises(Stopped, match="after 3 of 7"):
            self.answers(opened, 7, chunk=3, should_stop=lambda: next(wishes))

    def test_answers_end_where_the_models_folder_says(self, opened):
        assert all(EOS not in answer.ids[:-1] for answer in self.answers(opened, 20))


def test_the_seeds_of_rows_and_runs_do_not_meet():
    seeds = {row_seed(run, row) for run in range(50) for row in range(200)}
    assert len(seeds) == 10_000
    assert max(seeds) < 2**63


class Elsewhere(Accelerator):
    name = "elsewhere"
    engine = "vllm"

    def options(self):
        return {}


class WantsMore(Accelerator):
    name = "wants_more"
    engine = "llamacpp"

    def options(self):
        return {"cache_prompt": False, "warp": 9}


def test_an_accelerator_switches_its_option_on():
    engine = build(Engine, {"name": "llamacpp", "threads": 2})
    fast = with_accelerators(engine, [build(Accelerator, "prefix_cache")])
    assert (fast.cache_prompt, fast.threads) == (True, 2)
    assert not engine.cache_prompt


@pytest.mark.parametrize(
    ("accelerators", "says"),
    [
        ([Elsewhere()], "'elsewhere' is for the engine 'vllm'.*choose engine: vllm"),
        ([WantsMore()], "does not take what wants_more sets: warp"),
        (["prefix_cache", WantsMore()], "sets cache_prompt to False.*already set it to True"),
    ],
)
def test_an_accelerator_that_does_not_fit_is_refused(accelerators, says):
    built = [build(Accelerator, a) if isinstance(a, str) else a for a in accelerators]
    with pytest.raises(ConfigError, match=says):
        with_accelerators(build(Engine, "llamacpp"), built)


def test_a_sampler_an_engine_cannot_express_is_refused_by_name():
    check_expressible(build(Engine, "transformers"), Remembers())
    with pytest.raises(ModelError, match="Use engine: transformers"):
        check_expressible(build(Engine, "llamacpp"), Remembers())


def test_importing_generation_imports_no_torch():
    code = (
        "import sys, tunesmith.generation.answers, tunesmith.generation.accelerate,"
        " tunesmith.generation.scoring; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
