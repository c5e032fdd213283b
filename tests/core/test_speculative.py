"""Guesses change how many steps an answer takes, and nothing that a reader could see."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from tunesmith import Generation, ModelError, Sampler
from tunesmith.generation import proposals
from tunesmith.generation.proposals import PromptLookup
from tunesmith.generation.reference import generate
from tunesmith.generation.rewinding import Reader
from tunesmith.generation.speculative import Draft, Lookup, generate_with_guesses
from tunesmith.plugins import build
from tunesmith_plugins.adapters.prompt_tuning import PromptTuning

EOS = 1
TINY = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96,
    "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": EOS, "pad_token_id": 2,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**TINY),
    "qwen2": Qwen2Config(**TINY),
    "gpt2": GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=96, eos_token_id=EOS,
        bos_token_id=0, initializer_range=0.3,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(kind="llama", seed=3):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[kind])).eval()


def like(model, noise):
    """Return a model that often, and not always, agrees with another."""
    other = copy.deepcopy(model)
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += torch.randn_like(parameter) * noise
    return other


@pytest.fixture(scope="module")
def llama():
    return tiny()


@pytest.fixture(scope="module")
def drafter(llama):
    return like(llama, 0.05)


def some_prompts(count, longest=40, seed=0):
    random = Random(seed)
    return [
        [random.randrange(3, 97) for _ in range(random.randrange(1, longest))] for _ in range(count)
    ]


def ask(count, sampler="greedy", new=24, **more):
    settings = {"seeds": range(count), "stop_ids": (EOS,)} | more
    return Generation(build(Sampler, sampler), new, **settings)


SAMPLERS = ["greedy", "random", {"name": "top_k", "k": 4}, {"name": "top_p", "p": 0.7}]


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_prompt_lookup_gives_the_plain_loops_tokens_drawn_or_not(kind, sampler, batch_size):
    model, prompts = tiny(kind), some_prompts(14)
    how = ask(14, sampler, batch_size=batch_size)
    counts = Counter()
    ours = generate_with_guesses(model, prompts, how, str, Lookup(6, 1), counts)
    assert ours == generate(model, prompts, how, str)
    assert counts["proposed"] > 0


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_draft_model_gives_the_plain_loops_greedy_tokens(kind, batch_size):
    model, prompts = tiny(kind), some_prompts(14, seed=1)
    how = ask(14, batch_size=batch_size)
    counts = Counter()
    guesses = Draft(like(model, 0.05), 4)
    ours = generate_with_guesses(model, prompts, how, str, guesses, counts)
    assert ours == generate(model, prompts, how, str)
    assert 0 < counts["accepted"] < counts["proposed"]
    assert counts["target_steps"] < counts["plain_steps"]


def test_a_row_reaches_the_last_place_of_the_context_beside_longer_guesses():
    model = tiny("gpt2")  # its positions are a table: one too many would raise
    prompts = [[5] * 72, [6, 7] * 30, [8, 9, 10] * 24]
    how = ask(3, new=24, stop_ids=())
    ours = generate_with_guesses(model, prompts, how, str, Lookup(30, 1))
    assert ours == generate(model, prompts, how, str)


class Remembers(Sampler):
    """Forbids what the row already holds."""

    name = "remembers"

    def __call__(self, logits, tokens):
        for row, seen in enumerate(tokens):
            logits[row, seen] = -torch.inf
        return logits


def test_a_sampler_that_reads_the_tokens_reads_the_guessed_ones_too(llama, drafter):
    prompts = some_prompts(6, longest=8)
    how = Generation(Remembers(), 12, range(6), ())
    plain = generate(llama, prompts, how, str)
    assert generate_with_guesses(llama, prompts, how, str, Lookup(4, 1)) == plain
    drawn = generate_with_guesses(llama, prompts, how, str, Draft(drafter, 3))
    for prompt, answer in zip(prompts, drawn, strict=True):
        assert len({*prompt, *answer.ids}) == len(set(prompt)) + 12


def test_an_answer_does_not_change_with_the_company_it_keeps(llama, drafter):
    prompts = some_prompts(12, seed=4)
    for guesses in (Lookup(6, 2), Draft(drafter, 4)):
        together = generate_with_guesses(llama, prompts, ask(12, "random"), str, guesses)
        for row, prompt in enumerate(prompts):
            alone = ask(1, "random", seeds=[row])
            assert generate_with_guesses(llama, [prompt], alone, str, guesses) == [together[row]]


PROMPT = [3, 17, 40]
DRAWS = 3000
LOUD = {"name": "top_k", "k": 5, "temperature": 1.5}


def first_two(model, sampler, guesses):
    """Return how often each pair of first tokens was drawn, shape (97, 97)."""
    how = ask(DRAWS, sampler, new=3, stop_ids=(), batch_size=500)
    prompts = [PROMPT] * DRAWS
    if guesses is None:
        answers = generate(model, prompts, how, str)
    else:
        answers = generate_with_guesses(model, prompts, how, str, guesses)
    pairs = torch.tensor([answer.ids[0] * 97 + answer.ids[1] for answer in answers])
    return torch.bincount(pairs, minlength=97 * 97).reshape(97, 97)


@torch.no_grad()
def exact_law(model, sampler):
    """Return the probability of each pair of first tokens."""
    reshape = build(Sampler, sampler)
    first = reshape(model(torch.tensor([PROMPT])).logits[:, -1]).double().softmax(-1)[0]
    after = torch.tensor([[*PROMPT, token] for token in range(97)])
    second = reshape(model(after).logits[:, -1]).double().softmax(-1)
    return first[:, None] * second


def chi_square_p(counts, expected):
    counts, expected = counts.flatten().double(), expected.flatten()
    assert not counts[expected == 0].any()
    rare = expected < 5
    seen = torch.cat([counts[~rare], counts[rare].sum()[None]])
    meant = torch.cat([expected[~rare], expected[rare].sum()[None]])
    seen, meant = seen[meant > 0], meant[meant > 0]
    statistic = ((seen - meant) ** 2 / meant).sum()
    freedom = torch.tensor((len(meant) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_a_draft_model_leaves_the_distribution_as_it_is(llama, noise):
    guesses = Draft(like(llama, noise), 3)
    expected = exact_law(llama, LOUD) * DRAWS
    assert chi_square_p(first_two(llama, LOUD, guesses), expected) > 1e-3
    assert chi_square_p(first_two(llama, LOUD, None), expected) > 1e-3


def test_the_distribution_test_would_notice_a_draft_that_is_believed(llama):
    """Draws of the draft model itself fail the very test that the checked ones pass."""
    expected = exact_law(llama, LOUD) * DRAWS
    believed = first_two(like(llama, 0.05), LOUD, None)
    assert believed[expected == 0].any() or chi_square_p(believed, expected) < 1e-6


@pytest.fixture(scope="module")
def circle(llama):
    """A model that goes on in circles: 20 to 25, and 20 again."""
    model = copy.deepcopy(llama)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1.0)
        for token in range(20, 26):
            model.model.embed_tokens.weight[token, token] = 1.0
            model.lm_head.weight[20 + (token - 19) % 6, token] = 8.0
    return model


ROUND = [20, 21, 22, 23, 24, 25] * 6


def test_a_stop_inside_a_guess_ends_the_answer(circle):
    how = ask(2, stop_ids=(23,))
    ours = generate_with_guesses(circle, [ROUND, ROUND[:-1]], how, str, Lookup(8, 3))
    assert ids_of(ours) == [[20, 21, 22, 23], [25, 20, 21, 22, 23]]
    assert [answer.finish for answer in ours] == ["stop", "stop"]


def ids_of(completions):
    return [completion.ids for completion in completions]


def test_a_text_that_repeats_itself_takes_fewer_steps_and_another_one_does_not(llama, circle):
    counts = Counter()
    how = ask(1, new=24, stop_ids=())
    ours = generate_with_guesses(circle, [ROUND], how, str, Lookup(8, 3), counts)
    assert ours == generate(circle, [ROUND], how, str)
    assert counts["plain_steps"] == counts["written"] == 24
    assert counts["target_steps"] <= counts["plain_steps"] // 2
    assert counts["accepted"] >= 12
    silent = Counter()
    generate_with_guesses(llama, [[3, 4, 5]], ask(1, "random", new=4), str, Lookup(8, 3), silent)
    assert silent["target_steps"] == silent["plain_steps"]
    assert silent["accepted"] == 0


def test_a_perfect_draft_is_accepted_whole(llama):
    counts = Counter()
    how = ask(8, "random", stop_ids=())
    generate_with_guesses(llama, some_prompts(8), how, str, Draft(llama, 5), counts)
    assert counts["accepted"] == counts["proposed"]
    assert counts["target_steps"] == 1 + 24 // 6


@pytest.mark.parametrize(
    ("text", "after", "guessed"),
    [
        ([1, 2, 3, 9, 8, 1, 2, 3], 3, [9, 8, 1, 2]),
        ([1, 2, 3, 9, 2, 3, 7, 2, 3], 2, [7, 2, 3, 7]),  # the newest occurrence counts
        ([5, 2, 3, 9, 8, 4, 2, 3], 3, [9, 8, 4, 2]),  # three did not stand there, two did
        ([4, 4, 4], 3, [4, 4, 4, 4]),  # what repeats within the guess goes on
        ([4, 5, 4], 3, []),  # one token alone says too little
        ([4, 5, 4], 1, [5, 4, 5, 4]),  # unless no more is asked for
        ([1, 2, 3, 4], 3, []),
        ([1], 3, []),
    ],
)
def test_what_is_looked_up(text, after, guessed, monkeypatch):
    monkeypatch.setattr(proposals, "FIRST", 4)
    (guess,) = PromptLookup(4, after).guess([0], [text], [10])
    assert guess.tokens == guessed
    (short,) = PromptLookup(4, after).guess([0], [text], [1])
    assert short.tokens == guessed[:1]


def test_looking_up_word_by_word_is_looking_up_at_once(monkeypatch):
    monkeypatch.setattr(proposals, "FIRST", 4)
    text = [Random(2).randrange(4) for _ in range(60)]
    slow = PromptLookup(4, 3)
    for end in range(1, 61):
        slow.guess([7], [text[:end]], [0])  # no room: nothing is learnt of what came true
        (at_once,) = PromptLookup(4, 3).guess([0], [text[:end]], [4])
        seen = slow._rows[7]
        assert seen.what_followed(text[:end], 2, 3, 4) == at_once.tokens


def test_guesses_that_come_true_grow_and_wrong_ones_pause():
    song = list(range(10, 60))
    guesser, text, lengths = PromptLookup(16, 3), [*song, *song[:2]], []
    while len(text) < 95:
        (guess,) = guesser.guess([0], [text], [99])
        lengths.append(len(guess.tokens))
        text = [*text, *guess.tokens, text[len(text) + len(guess.tokens) - 50]]
    assert lengths[:4] == [2, 4, 8, 16]
    guesser, text, asked = PromptLookup(16, 3), [1, 2, 3, 4, 1, 2], []
    for number in range(40):  # the same two words, and never what followed them
        (guess,) = guesser.guess([0], [text], [99])
        asked.append(bool(guess.tokens))
        text = [*text, 100 + number, 1, 2]
    wrong = [at for at, made in enumerate(asked) if made]
    pauses = [later - earlier for earlier, later in pairwise(wrong)]
    assert pauses == sorted(pauses) and pauses[0] < pauses[-1]
    assert len(wrong) <= 5


@torch.no_grad()
def test_a_rewound_row_reads_on_as_if_it_had_never_gone_further(llama):
    reader = Reader(llama, 2, 30)
    reader.read([[5, 6, 7, 8], [9, 10]], keep=0)
    reader.rewind([2, 1])
    logits = reader.read([[11, 12], [13]], keep=0)
    for row, text, place in [(0, [5, 6, 11, 12], 1), (1, [9, 13], 0)]:
        plain = llama(torch.tensor([text])).logits[0, -1]
        assert torch.allclose(logits[row, place], plain, atol=1e-4)


def test_a_model_that_cannot_rewind_is_refused():
    torch.manual_seed(3)
    sliding = MistralConfig(**TINY, sliding_window=16)
    model = AutoModelForCausalLM.from_config(sliding).eval()
    with pytest.raises(ModelError, match=r"cannot be rewound.*speculation is not possible"):
        generate_with_guesses(model, [[5, 6]], ask(1), str, Lookup())


def test_damaged_weights_are_reported_as_the_plain_loop_does():
    model = tiny()
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    for sampler in ("greedy", "random"):
        with pytest.raises(ModelError, match="logits that are not numbers"):
            generate_with_guesses(model, [[5, 6, 5]], ask(1, sampler), str, Lookup())


def test_a_sampler_that_searches_is_refused_and_not_quietly_replaced(llama):
    how = ask(1, {"name": "beam", "num_beams": 2})
    with pytest.raises(ModelError, match="'beam' searches whole answers"):
        generate_with_guesses(llama, [[3, 4, 5]], how, str, Lookup(4, 1))


def test_a_model_with_virtual_tokens_is_refused():
    tuned = PromptTuning(num_virtual_tokens=2).wrap(tiny())
    with pytest.raises(ModelError, match="virtual tokens"):
        generate_with_guesses(tuned, [[3, 4, 5]], ask(1), str, Lookup(4, 1))
