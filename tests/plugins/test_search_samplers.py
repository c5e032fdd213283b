"""Beam search and best-of-n answer as they are defined, through the reference engine."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from random import Random

import pytest
import torch
from tests.tiny_models import tiny_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

from tunesmith import Engine, Generation, ModelError, RewardModel, Sampler
from tunesmith.config import check_config
from tunesmith.errors import ConfigError
from tunesmith.generation.answers import answer_prompts, check_expressible
from tunesmith.generation.reference import generate
from tunesmith.generation.scoring import score_logprobs
from tunesmith.models import load_model, load_tokenizer
from tunesmith.plugins import build
from tunesmith.stagekeys import ingredients
from tunesmith_plugins.rewards.scalar_head import ScalarHead, Settings, save_head

VOCABULARY, PAD = 97, 2
STOPS = (1, 5, 9, 20)
TINY = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": PAD,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**TINY),
    "qwen2": Qwen2Config(**TINY),
    "mistral, sliding window": MistralConfig(**TINY, sliding_window=16),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, eos_token_id=1,
        bos_token_id=0, initializer_range=0.3,
    ),
}  # fmt: skip
BEAMS = [
    {"num_beams": 2},
    {"num_beams": 3, "length_penalty": 0.0},
    {"num_beams": 4, "length_penalty": -1.0},
    {"num_beams": 4, "early_stopping": True},
    {"num_beams": 4, "early_stopping": "never", "length_penalty": 1.5},
]


def tiny(kind="llama"):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[kind])).eval()


@pytest.fixture(scope="module")
def llama():
    return tiny()


def some_prompts(count, longest=30, seed=0):
    random = Random(seed)
    return [
        [random.randrange(3, VOCABULARY) for _ in range(random.randrange(1, longest))]
        for _ in range(count)
    ]


def ask(model, prompts, spec, new=20, stops=STOPS, **more):
    seeds = more.pop("seeds", range(len(prompts)))
    how = Generation(build(Sampler, spec), new, seeds, stops, **more)
    return [answer.ids for answer in generate(model, prompts, how, str)]


def their_beams(model, prompts, stops=STOPS, **options):
    width = max(map(len, prompts))
    out = model.generate(
        input_ids=torch.tensor([[PAD] * (width - len(p)) + p for p in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        do_sample=False, max_new_tokens=20, eos_token_id=list(stops) or None, pad_token_id=PAD,
        **options,
    )  # fmt: skip
    return [to_its_end(row[width:].tolist(), stops) for row in out]


def to_its_end(row, stops):
    ends = [place for place, token in enumerate(row) if token in stops]
    return row[: ends[0] + 1] if ends else row


def logprobs(model, prompts, answers):
    ids = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    return [score.per_token for score in score_logprobs(model, ids, [len(p) for p in prompts])]


@pytest.mark.parametrize("options", BEAMS, ids=str)
@pytest.mark.parametrize("kind", CONFIGS)
def test_beam_answers_equal_those_of_transformers_generate(kind, options):
    model, prompts = tiny(kind), some_prompts(12)
    ours = ask(model, prompts, {"name": "beam", **options})
    assert ours == their_beams(model, prompts, **options)


def test_the_options_of_beam_make_different_answers(llama):
    prompts = some_prompts(12)
    answers = [ask(llama, prompts, {"name": "beam", **options}) for options in BEAMS]
    assert all(one != other for n, one in enumerate(answers) for other in answers[:n])
    assert {a[-1] in STOPS for answer in answers for a in answer} == {True, False}


@pytest.mark.parametrize("stops", [(), (1,)])
def test_beams_follow_the_stop_tokens_of_the_request(llama, stops):
    prompts = some_prompts(8)
    ours = ask(llama, prompts, {"name": "beam", "num_beams": 3}, stops=stops)
    assert ours == their_beams(llama, prompts, stops, num_beams=3)


def test_beam_finds_more_probable_answers_than_greedy(llama):
    prompts = some_prompts(24, seed=4)
    search = {"name": "beam", "num_beams": 6, "length_penalty": 0.0}
    greedy, beam = ask(llama, prompts, "greedy"), ask(llama, prompts, search)
    pairs = zip(logprobs(llama, prompts, greedy), logprobs(llama, prompts, beam), strict=True)
    gains = [sum(found) - sum(taken) for taken, found in pairs]
    assert sum(gain > 1e-4 for gain in gains) > 12
    assert sum(gains) > 0


def test_a_longer_answer_gains_by_a_greater_length_penalty(llama):
    prompts = some_prompts(16)
    means = []
    for penalty in (-2.0, 0.0, 1.0, 3.0):
        answers = ask(llama, prompts, {"name": "beam", "length_penalty": penalty})
        means.append(sum(map(len, answers)))
    assert means == sorted(means)
    assert means[0] < means[-1]


@pytest.mark.parametrize(
    "spec",
    ["beam", {"name": "best_of_n", "n": 3, "sampler": {"name": "top_p", "p": 0.9}}],
    ids=str,
)
def test_a_rows_answer_does_not_change_with_the_company_it_keeps(llama, spec):
    prompts = some_prompts(12, seed=2)
    together = ask(llama, prompts, spec)
    assert ask(llama, prompts, spec) == together
    for row in (0, 5, 11):
        assert ask(llama, [prompts[row]], spec, seeds=[row]) == [together[row]]
    assert ask(llama, prompts, spec, batch_size=5) == together


def test_beam_draws_nothing(llama):
    prompts = some_prompts(4)
    assert ask(llama, prompts, "beam", seeds=[9, 8, 7, 6]) == ask(llama, prompts, "beam")


@pytest.mark.parametrize("spec", ["beam", "best_of_n"])
def test_logits_that_are_not_numbers_are_an_error(spec):
    broken = tiny()
    broken.lm_head.weight.data[5] = math.nan
    with pytest.raises(ModelError, match="not numbers"):
        ask(broken, some_prompts(3), spec)


def test_more_beams_than_the_vocabulary_can_fill_are_refused(llama):
    with pytest.raises(ModelError, match=r"100 continuations.*97 tokens\. Lower num_beams"):
        ask(llama, [[5]], {"name": "beam", "num_beams": 20})


def test_the_best_of_one_is_the_samplers_own_answer(llama):
    prompts, inner = some_prompts(10), {"name": "temperature", "temperature": 1.4}
    one = {"name": "best_of_n", "n": 1, "sampler": inner}
    assert ask(llama, prompts, one) == ask(llama, prompts, inner)


def test_the_mean_log_probability_rises_with_n(llama):
    prompts = some_prompts(24, seed=6)
    means = []
    for n in (1, 2, 4, 8):
        rows = logprobs(llama, prompts, ask(llama, prompts, {"name": "best_of_n", "n": n}))
        means.append([sum(row) / len(row) for row in rows])
    for fewer, more in pairwise(means):
        # The candidates of the smaller n are among those of the greater.
        assert all(b >= a - 1e-4 for a, b in zip(fewer, more, strict=True))
        assert sum(more) > sum(fewer) + 1


def test_the_best_of_n_is_one_of_n_different_draws(llama):
    chosen = {tuple(ask(llama, [[7, 8]], "best_of_n", seeds=[s], new=6)[0]) for s in range(12)}
    assert len(chosen) > 8


def reward_folder(folder):
    """Write a reward model that was never trained, with a head that is not 0."""
    model = load_model(tiny_model(1))
    net = ScalarHead(model, "mean")
    torch.manual_seed(2)
    torch.nn.init.normal_(net.head.weight)
    model.save_pretrained(folder)
    load_tokenizer(tiny_model(1)).save_pretrained(folder)
    save_head(net, Settings("mean", 1.0, 0.0, 1.0), folder)
    return folder


def talk(spec, count=6):
    """Answer conversations as every stage does, on the reference engine."""
    talks = [[{"role": "user", "content": f"Say {n} kites."}] for n in range(count)]
    with build(Engine, "transformers").open(tiny_model()) as engine:
        done = answer_prompts(
            engine, load_tokenizer(tiny_model()), talks, build(Sampler, spec), 12, seed=3
        )
    return talks, [answer.text for answer in done]


def test_a_reward_model_chooses_where_one_is_given(tmp_path):
    folder = reward_folder(tmp_path)
    score = build(RewardModel, "bradley_terry").open(folder)
    rewards = []
    for n in (1, 3, 6):
        talks, texts = talk({"name": "best_of_n", "n": n, "reward": str(folder)})
        rewards.append(score(talks, texts))
    for fewer, more in pairwise(rewards):
        assert all(b >= a - 1e-4 for a, b in zip(fewer, more, strict=True))
    assert sum(rewards[-1]) > sum(rewards[0]) + 0.1
    own = talk({"name": "best_of_n", "n": 6})
    assert sum(score(*own)) < sum(rewards[-1]) - 0.1


def test_a_reward_model_must_know_what_the_prompts_say(llama, tmp_path):
    spec = {"name": "best_of_n", "reward": str(tmp_path)}
    with pytest.raises(ModelError, match="token ids only"):
        ask(llama, [[5, 6]], spec)
    with pytest.raises(ModelError, match="not to plain text"):
        ask(llama, [[5, 6]], spec, conversations=["Once upon"])


def test_a_reward_model_that_is_not_there_is_a_problem(tmp_path):
    sampler = build(Sampler, {"name": "best_of_n", "reward": str(tmp_path / "gone")})
    assert "best_of_n.reward: there is no folder" in sampler.problems()[0]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"name": "beam", "num_beams": 1}, "beam.num_beams: expected greater than or equal to 2"),
        ({"name": "beam", "length_penalty": math.nan}, "beam.length_penalty"),
        ({"name": "beam", "early_stopping": "sometimes"}, "beam.early_stopping"),
        ({"name": "beam", "beams": 4}, "has no option 'beams'.*num_beams"),
        ({"name": "best_of_n", "n": 0}, "best_of_n.n"),
        ({"name": "best_of_n", "sampler": "greedy"}, "the same answer n times"),
        ({"name": "best_of_n", "sampler": "beam"}, "the same answer n times"),
        ({"name": "best_of_n", "reward_model": "judge_dread"}, "No RewardModel is named"),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_refused(spec, says):
    with pytest.raises(ConfigError, match=says):
        build(Sampler, spec)


@pytest.mark.parametrize("name", ["beam", "best_of_n"])
def test_a_fast_engine_refuses_what_it_cannot_search(name):
    check_expressible(build(Engine, "transformers"), build(Sampler, name))
    with pytest.raises(ModelError, match=f"cannot express the sampler '{name}'.*transformers"):
        check_expressible(build(Engine, "llamacpp"), build(Sampler, name))


def parts_of_key(sampler):
    respond = {"sampler": sampler, "prompts": 5}
    sources = [{"name": "nano", "train": 20, "prompts": 10, "test": 10}]
    config = {"name": "demo", "model": str(tiny_model()), "data": {"sources": sources}}
    found = ingredients(check_config(config | {"respond": respond}), "respond", {"prepare": "p"})
    return found["techniques"]["respond.sampler"]


def test_the_key_of_a_stage_covers_the_inner_sampler_and_the_reward_model(tmp_path):
    found = parts_of_key({"name": "best_of_n", "sampler": {"name": "top_k", "k": 3}})
    inner = found["nested"]["sampler"]
    assert (inner["name"], inner["options"]["k"]) == ("top_k", 3)
    assert inner["source"] == parts_of_key("top_k")["source"]
    spec = {"name": "best_of_n", "reward": str(tmp_path)}
    (tmp_path / "head.safetensors").write_bytes(b"one")
    before = parts_of_key(spec)["content"]
    (tmp_path / "head.safetensors").write_bytes(b"two")
    assert parts_of_key(spec)["content"] != before
