"""A GGUF file holds the same model, smaller, and says what it could not keep."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from tunesmith import Engine, Generation, ModelError, Quantizer, Sampler
from tunesmith.models import load_tokenizer, save_model
from tunesmith.plugins import build

ROOT = Path(__file__).parents[2]
BABYLLAMA = Path(os.environ.get("TUNESMITH_SHARED", ROOT.parent / "shared")) / "models/babyllama105"
needs_babyllama = pytest.mark.skipif(not BABYLLAMA.is_dir(), reason=f"no model at {BABYLLAMA}")
TEXTS = ["the cat sat on the mat and the dog ran home 123 times"] * 3 + ["once upon a time, été"]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
SHAPE = {
    "vocab_size": 300,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def byte_level(vocabulary=290):
    rules = Tokenizer(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    specials = ["<|bos|>", "<|end|>", "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=specials, initial_alphabet=alphabet
    )
    rules.train_from_iterator(TEXTS, trainer)
    return rules


def unigram():
    rules = Tokenizer(models.Unigram())
    rules.normalizer = normalizers.NFKC()
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=["<|bos|>", "<|end|>", "<|pad|>"], unk_token="<|pad|>"
    )
    rules.train_from_iterator(TEXTS, trainer)
    return rules


def words():
    rules = Tokenizer(models.WordLevel(unk_token="<|pad|>"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<|bos|>", "<|end|>", "<|pad|>"])
    rules.train_from_iterator(TEXTS, trainer)
    return rules


def saved(folder, config=LlamaConfig, rules=None, **changes):
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config(**{**SHAPE, **changes}))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rules or byte_level(), bos_token="<|bos|>", eos_token="<|end|>",
        pad_token="<|pad|>", chat_template=TEMPLATE,
    )  # fmt: skip
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("llama"), tie_word_embeddings=True)


def write(model, out, kind="q8_0"):
    return build(Quantizer, {"name": "gguf", "type": kind}).quantize(model, out).metrics


def tensors_of(folder):
    reader = gguf.GGUFReader(folder / "model.gguf")
    return {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}


def field(folder, key):
    return gguf.GGUFReader(folder / "model.gguf").fields[key].contents()


def source_rows(folder, name, heads):
    """Return a matrix of the source with its rotary rows in llama.cpp's order."""
    weight = load_file(folder / "model.safetensors")[name].float()
    if heads is None:
        return weight.numpy()
    half = weight.shape[0] // heads // 2
    order = [h * 2 * half + i % 2 * half + i // 2 for h in range(heads) for i in range(2 * half)]
    return weight[order].numpy()


PAIRS = [
    ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", 4),
    ("blk.1.attn_k.weight", "model.layers.1.self_attn.k_proj.weight", 2),
    ("blk.1.attn_v.weight", "model.layers.1.self_attn.v_proj.weight", None),
    ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", None),
    ("token_embd.weight", "model.embed_tokens.weight", None),
    ("output_norm.weight", "model.norm.weight", None),
]


@pytest.mark.parametrize(("theirs", "ours", "heads"), PAIRS)
def test_f32_keeps_every_bit(llama, tmp_path, theirs, ours, heads):
    write(llama, tmp_path, "f32")
    assert np.array_equal(tensors_of(tmp_path)[theirs], source_rows(llama, ours, heads))


def test_q8_0_errs_by_less_than_half_a_step_of_its_block(llama, tmp_path):
    write(llama, tmp_path, "q8_0")
    found = tensors_of(tmp_path)
    for theirs, ours, heads in PAIRS[:5]:
        blocks = source_rows(llama, ours, heads).reshape(-1, 32)
        error = np.abs(found[theirs].reshape(-1, 32) - blocks)
        step = np.abs(blocks).max(axis=1, keepdims=True) / 127
        # The step itself is stored as fp16, so a weight of 127 steps may move by 127 * 2**-11.
        assert (error <= step * (0.5 + 127 * 2**-11 + 1e-3)).all()


def test_q4_0_errs_by_less_than_one_step_of_its_block(llama, tmp_path):
    write(llama, tmp_path, "q4_0")
    found = tensors_of(tmp_path)
    for theirs, ours, heads in PAIRS[:4]:
        blocks = source_rows(llama, ours, heads).reshape(-1, 32)
        error = np.abs(found[theirs].reshape(-1, 32) - blocks)
        step = np.abs(blocks).max(axis=1, keepdims=True) / 8
        assert (error <= step * (1 + 8 * 2**-11 + 1e-3)).all()


@pytest.mark.parametrize(
    ("kind", "most"), [("f32", 1.02), ("f16", 0.52), ("bf16", 0.52), ("q8_0", 0.3), ("q4_0", 0.2)]
)
def test_a_type_takes_its_share_of_the_fp32_size(llama, tmp_path, kind, most):
    metrics = write(llama, tmp_path, kind)
    weights = sum(t.numel() for t in load_file(llama / "model.safetensors").values())
    size = (tmp_path / "model.gguf").stat().st_size
    assert metrics["parameters"] == weights
    assert metrics["bytes"] == size
    assert metrics["ratio"] == pytest.approx(size / (4 * weights), abs=1e-4)
    assert metrics["bits_per_weight"] == pytest.approx(8 * size / weights, abs=1e-3)
    assert metrics["ratio"] <= most
    assert metrics["fallbacks"] == []


def test_q4_0_keeps_the_output_matrix_at_q8_0(llama, tmp_path):
    metrics = write(llama, tmp_path, "q4_0")
    assert metrics["tensors"] == {"f32": 5, "q4_0": 14, "q8_0": 1}


def test_the_same_model_gives_the_same_bytes(llama, tmp_path):
    digests = set()
    for name in ("one", "two"):
        write(llama, tmp_path / name)
        files = sorted((tmp_path / name).iterdir())
        digests.add(hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest())
    assert len(digests) == 1


def test_rows_that_do_not_divide_into_blocks_stay_f16_and_are_listed(tmp_path):
    model = saved(
        tmp_path / "model", hidden_size=48, intermediate_size=64, tie_word_embeddings=True
    )
    metrics = write(model, tmp_path / "out")
    assert "blk.0.attn_q.weight" in metrics["fallbacks"]
    assert "blk.0.ffn_down.weight" not in metrics["fallbacks"]
    assert metrics["tensors"] == {"f16": 13, "f32": 5, "q8_0": 2}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == metrics
    assert len(answers("llamacpp", tmp_path / "out", [[3, 4, 5]], 5)[0]) == 5


def test_the_tokenizer_is_in_the_file_and_beside_it(llama, tmp_path):
    metrics = write(llama, tmp_path)
    tokenizer = load_tokenizer(llama)
    tokens = field(tmp_path, "tokenizer.ggml.tokens")
    kinds = field(tmp_path, "tokenizer.ggml.token_type")
    assert [tokens[i] for i in range(len(tokenizer))] == tokenizer.convert_ids_to_tokens(
        range(len(tokenizer))
    )
    assert kinds[:4] == [3, 3, 3, 1]
    assert len(tokens) == 300
    assert kinds[299] == gguf.TokenType.UNUSED
    assert field(tmp_path, "tokenizer.ggml.model") == "gpt2"
    assert field(tmp_path, "tokenizer.ggml.pre") == "gpt-2"
    assert field(tmp_path, "tokenizer.ggml.eos_token_id") == 1
    assert field(tmp_path, "tokenizer.chat_template") == TEMPLATE
    assert metrics["tokenizer_exact"]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (llama / name).read_bytes()


def test_a_splitting_rule_that_llamacpp_lacks_is_reported(tmp_path):
    rules = byte_level()
    rules.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
    )
    metrics = write(saved(tmp_path / "model", rules=rules), tmp_path / "out")
    assert (metrics["tokenizer"], metrics["tokenizer_exact"]) == ("default", False)


def test_a_unigram_tokenizer_keeps_its_scores(tmp_path):
    rules = unigram()
    metrics = write(saved(tmp_path / "model", rules=rules), tmp_path / "out")
    assert metrics["tokenizer"] == "t5"
    pieces = json.loads(rules.to_str())["model"]["vocab"]
    scores = field(tmp_path / "out", "tokenizer.ggml.scores")
    assert scores[: len(pieces)] == pytest.approx([score for _, score in pieces])


def answers(engine, folder, prompts, new, **options):
    how = Generation(build(Sampler, "greedy"), new, [0] * len(prompts), ())
    with build(Engine, {"name": engine, **options}).open(folder) as opened:
        return [answer.ids for answer in opened.generate(prompts, how)]


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (LlamaConfig, {"tie_word_embeddings": True}),
        (LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
        (LlamaConfig, {"rope_parameters": LLAMA3}),
        (LlamaConfig, {"rope_parameters": LLAMA3 | {"rope_type": "linear", "factor": 2.0}}),
        (LlamaConfig, {"head_dim": 32, "num_key_value_heads": 1}),
        (MistralConfig, {"sliding_window": None}),
        (Qwen2Config, {}),
        (Qwen3Config, {"head_dim": 128}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "+".join(value) or "plain",
)
def test_llamacpp_computes_every_supported_architecture_as_transformers(tmp_path, config, changes):
    model = saved(tmp_path / "model", config, **changes)
    with torch.no_grad():  # norms and biases start as ones and zeros, which would hide a mix-up
        loaded = AutoModelForCausalLM.from_pretrained(model)
        for name, parameter in loaded.named_parameters():
            if parameter.dim() == 1:
                torch.manual_seed(len(name))
                parameter += torch.randn_like(parameter) * 0.2
        loaded.save_pretrained(model)
    write(model, tmp_path / "out", "f32")
    prompts = [[0, *range(3, 3 + 7 * n)] for n in range(1, 9)]
    theirs = answers("llamacpp", tmp_path / "out", prompts, 40)
    assert theirs == answers("transformers", model, prompts, 40)


@needs_babyllama
def test_q8_0_agrees_with_fp32_on_nearly_every_next_token(tmp_path):
    write(BABYLLAMA, tmp_path)
    tokenizer = load_tokenizer(BABYLLAMA)
    text = "Once upon a time there was a little girl who had a red ball. She played with it. " * 3
    ids = tokenizer(text)["input_ids"]
    prompts = [ids[:end] for end in range(5, 205, 4)]
    small = answers("llamacpp", tmp_path, prompts, 1)
    full = answers("transformers", BABYLLAMA, prompts, 1)
    agreement = sum(a == b for a, b in zip(small, full, strict=True)) / len(prompts)
    assert agreement >= 0.97


@needs_babyllama
def test_a_character_tokenizer_detokenises_in_llamacpp_as_in_transformers(tmp_path):
    metrics = write(BABYLLAMA, tmp_path, "f32")
    assert (metrics["tokenizer"], metrics["tokenizer_exact"]) == ("llama", False)
    prompt = load_tokenizer(BABYLLAMA)("Once upon a time")["input_ids"]
    with build(Engine, "llamacpp").open(tmp_path) as opened:
        request = {"prompt": prompt, "n_predict": 40, "temperature": 0, "return_tokens": True}
        (answer,) = opened.connection.complete(request)
        assert answer["content"].strip() == opened.decode(answer["tokens"]).strip()


@pytest.mark.parametrize(
    ("config", "changes", "says"),
    [
        (GPT2Config, {}, "GPT2LMHeadModel cannot be.*Supported: LlamaForCausalLM, Mistral"),
        (LlamaConfig, {"hidden_act": "gelu"}, "activation 'gelu'"),
        (MistralConfig, {"sliding_window": 16}, "sliding window of 16"),
        (
            LlamaConfig,
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "rotary scaling 'dynamic'",
        ),
    ],
)
def test_what_llamacpp_would_compute_wrongly_is_refused(tmp_path, config, changes, says):
    model = saved(tmp_path / "model", config, **changes)
    with pytest.raises(ModelError, match=says):
        write(model, tmp_path / "out")
    assert not (tmp_path / "out" / "model.gguf").exists()


def test_a_tokenizer_without_a_gguf_form_is_refused(tmp_path):
    model = saved(tmp_path / "model", rules=words())
    with pytest.raises(ModelError, match=r"WordLevel.*Supported: byte-level BPE"):
        write(model, tmp_path / "out")


def test_weights_beyond_fp16_are_refused_by_name(tmp_path):
    model = saved(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(model)
    loaded.model.layers[1].mlp.up_proj.weight.data[0, 0] = 1e6
    loaded.save_pretrained(model)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj.*choose type f32 or bf16"):
        write(model, tmp_path / "out", "f16")
