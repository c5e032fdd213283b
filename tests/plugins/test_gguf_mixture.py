"""q4_k_m is llama.cpp's mixture: its types tensor by tensor, nearer to the model than q4_0."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file
from tiny_models import sentences

from tunesmith import Engine, Generation, ModelError, Quantizer, Sampler
from tunesmith.models import load_tokenizer, resolve_model, save_model
from tunesmith.plugins import build
from tunesmith.training.scratch import Architecture, new_model, train_tokenizer
from tunesmith_plugins.quantizers.ggml_blocks import blocks
from tunesmith_plugins.quantizers.gguf_recipe import Recipe


def saved(folder, **shape):
    tokenizer = train_tokenizer(sentences(200), 400, 128)
    model = new_model(Architecture(vocab_size=400, context=128, **shape), tokenizer, seed=0)
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model"), layers=8, tied_embeddings=False)


def write(model, out, kind="q4_k_m"):
    return build(Quantizer, {"name": "gguf", "type": kind}).quantize(model, out).metrics


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("f32", "q8_0", "q4_0", "q4_k_m")}
    return {kind: (folder, write(model, folder, kind)) for kind, folder in folders.items()}


def tensors(folder):
    reader = gguf.GGUFReader(folder / "model.gguf")
    return {tensor.name: tensor for tensor in reader.tensors}


def weights(folder):
    return {name: dequantize(t.data, t.tensor_type) for name, t in tensors(folder).items()}


def test_the_mixture_is_llamacpps_tensor_by_tensor(written):
    folder, metrics = written["q4_k_m"]
    found = {name: t.tensor_type.name.lower() for name, t in tensors(folder).items()}
    # Of eight layers the first and last eighth (0, 7) and every third from the second on (3, 6).
    more = {f"blk.{i}.{part}.weight" for i in (0, 3, 6, 7) for part in ("attn_v", "ffn_down")}
    matrices = {name for name, t in tensors(folder).items() if len(t.shape) > 1}
    assert {name for name, kind in found.items() if kind == "q6_k"} == more | {"output.weight"}
    assert {name for name, kind in found.items() if kind == "q4_k"} == matrices - more - {
        "output.weight"
    }
    assert metrics["types"] == {name: found[name] for name in matrices}
    assert json.loads((folder / "report.json").read_text())["types"] == metrics["types"]
    assert metrics["fallbacks"] == []
    reader = gguf.GGUFReader(folder / "model.gguf")
    kind = reader.fields["general.file_type"].contents()
    assert kind == gguf.LlamaFileType.MOSTLY_Q4_K_M


@pytest.mark.parametrize(
    ("layers", "more"),
    [
        (2, {1}),
        (4, {2, 3}),
        (16, {0, 1, 4, 7, 10, 13, 14, 15}),
        (32, {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31}),
    ],
)
def test_which_layers_have_more_bits(layers, more):
    recipe = Recipe("q4_k_m", layers, "output.weight")
    for part in ("attn_v", "ffn_down"):
        stored = [recipe.stored(f"blk.{i}.{part}.weight", (512, 512)).type for i in range(layers)]
        assert {i for i, kind in enumerate(stored) if kind == "q6_k"} == more
    assert recipe.stored("blk.0.attn_k.weight", (512, 512)).type == "q4_k"
    assert recipe.stored("blk.0.attn_norm.weight", (512,)).type == "f32"


@pytest.mark.parametrize(
    ("architecture", "kv_heads", "layers", "kind"),
    [
        ("llama", 8, 80, "q5_k"),
        ("llama", 64, 80, "q4_k"),  # 65B: every head has its own values
        ("qwen2", 64, 80, "q5_k"),
        ("llama", 8, 64, "q4_k"),
    ],
)
def test_values_that_many_heads_share_have_five_bits_in_a_70b_model(
    architecture, kv_heads, layers, kind
):
    config = {
        "num_hidden_layers": layers, "num_attention_heads": 64, "num_key_value_heads": kv_heads,
    }  # fmt: skip
    recipe = Recipe.of("q4_k_m", architecture, config)
    assert recipe.stored("blk.11.attn_v.weight", (1024, 8192)).type == kind


def test_a_tied_embedding_is_stored_as_the_output_it_is(tmp_path):
    metrics = write(saved(tmp_path / "model", layers=2), tmp_path / "out")
    assert metrics["types"]["token_embd.weight"] == "q6_k"


def test_rows_without_whole_blocks_of_256_take_blocks_of_32_and_are_listed(tmp_path):
    model = saved(
        tmp_path / "model", hidden_size=96, intermediate_size=320, heads=2, kv_heads=1, layers=2
    )
    metrics = write(model, tmp_path / "out")
    assert metrics["types"]["blk.0.attn_q.weight"] == "q5_0"
    assert metrics["types"]["blk.1.attn_v.weight"] == "q8_0"
    assert metrics["types"]["blk.0.ffn_down.weight"] == "q5_0"
    assert metrics["types"]["token_embd.weight"] == "q8_0"
    assert set(metrics["fallbacks"]) == set(metrics["types"])
    assert len(next_tokens("llamacpp", tmp_path / "out", [[3, 4, 5]])) == 1


def test_rows_without_any_whole_block_stay_f16(tmp_path):
    model = saved(tmp_path / "model", hidden_size=80, intermediate_size=256, heads=2, layers=2)
    metrics = write(model, tmp_path / "out")
    assert metrics["types"]["blk.0.attn_q.weight"] == "f16"
    assert metrics["types"]["blk.0.ffn_down.weight"] == "q4_k"
    assert "blk.0.ffn_down.weight" not in metrics["fallbacks"]


def test_the_file_is_smaller_than_q8_0_and_the_report_says_by_how_much(written):
    sizes = {kind: metrics["bytes"] for kind, (_, metrics) in written.items()}
    assert sizes["q4_k_m"] < 0.7 * sizes["q8_0"] < 0.2 * sizes["f32"]
    folder, metrics = written["q4_k_m"]
    assert metrics["bytes"] == (folder / "model.gguf").stat().st_size


def test_every_weight_is_within_the_reach_of_its_block(written):
    """The bound is the format's: half a step of the block, and what its 6-bit scales round."""
    exact, found = weights(written["f32"][0]), weights(written["q4_k_m"][0])
    for name, tensor in tensors(written["q4_k_m"][0]).items():
        kind = tensor.tensor_type.name
        if kind not in ("Q4_K", "Q6_K"):
            assert np.array_equal(found[name], exact[name])
            continue
        limit = allowed(exact[name], kind)
        assert (np.abs(found[name] - exact[name]) <= limit).all(), name


def allowed(matrix, kind):
    """Return how far each weight may move, shape of the matrix."""
    width = 32 if kind == "Q4_K" else 16
    block = matrix.reshape(-1, 256 // width, width)
    low = np.minimum(block.min(axis=2, keepdims=True), 0)
    high = np.maximum(block.max(axis=2, keepdims=True), 0)
    if kind == "Q6_K":  # 64 steps of a scale that is one of 128 multiples of the largest
        reach = np.maximum(-low, high)
        step = reach / 32
        rounded = reach.max(axis=1, keepdims=True) / 127
    else:  # 16 steps of a scale, and an offset; both one of 64 multiples of the largest
        step = (high - low) / 15
        rounded = ((high - low) - low).max(axis=1, keepdims=True) / 63
    # A whole step, not half of one: the scale is the one with the least squared error.
    return np.broadcast_to(step + rounded, block.shape).reshape(matrix.shape) * (1 + 2**-9)


def test_it_is_nearer_to_the_model_than_q4_0(written):
    exact = weights(written["f32"][0])
    errors = {}
    for kind in ("q4_0", "q4_k_m"):
        found = weights(written[kind][0])
        errors[kind] = {name: float(((found[name] - w) ** 2).mean()) for name, w in exact.items()}
    layers = [name for name in exact if name.startswith("blk.") and "norm" not in name]
    assert all(errors["q4_k_m"][name] < 0.8 * errors["q4_0"][name] for name in layers)
    assert written["q4_k_m"][1]["bytes"] < 1.2 * written["q4_0"][1]["bytes"]


def test_the_same_model_gives_the_same_bytes(model, written, tmp_path):
    write(model, tmp_path)
    again, first = tmp_path / "model.gguf", written["q4_k_m"][0] / "model.gguf"
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("kind", ["q4_k", "q5_k", "q6_k", "q8_0", "q5_0"])
def test_blocks_read_back_as_they_were_when_they_can_be_exact(kind):
    """Weights that lie on the grid survive: proof that the bytes are this format's."""
    grid = np.arange(256, dtype=np.float32).reshape(1, 256) % 16
    steps = {"q4_k": grid, "q5_k": grid, "q6_k": grid - 8, "q8_0": grid - 8, "q5_0": grid - 16}
    number = gguf.GGMLQuantizationType[kind.upper()]
    back = dequantize(blocks(steps[kind] * 0.5, kind), number)
    assert np.abs(back - steps[kind] * 0.5).max() < 0.1


def next_tokens(engine, folder, prompts):
    how = Generation(build(Sampler, "greedy"), 1, [0] * len(prompts), ())
    with build(Engine, engine).open(folder) as opened:
        return [answer.ids[0] for answer in opened.generate(prompts, how)]


def test_a_trained_model_keeps_its_answers(tmp_path):
    nano = resolve_model("builtin:nano")
    tokenizer = load_tokenizer(nano)
    text = "Tom had 7 kites and gave 2 to Mia. The cat sat by the river. What is 12 plus 5? " * 2
    ids = tokenizer(text)["input_ids"]
    prompts = [ids[:end] for end in range(3, len(ids))]
    parent = next_tokens("transformers", nano, prompts)
    write(nano, tmp_path)
    small = next_tokens("llamacpp", tmp_path, prompts)
    agreement = sum(a == b for a, b in zip(parent, small, strict=True)) / len(prompts)
    assert agreement >= 0.85


def test_a_damaged_model_is_refused_by_name(tmp_path):
    folder = saved(tmp_path / "model", layers=2)
    held = load_file(folder / "model.safetensors")
    held["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.nan
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj.*NaN or infinity"):
        write(folder, tmp_path / "out")
