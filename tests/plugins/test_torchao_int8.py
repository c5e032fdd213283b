"""int8 weights are int8 on disk and in the model, smaller, and near to what they were."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import SHAPE, tiny_model

from tunesmith import Engine, Generation, ModelError, Quantizer, Sampler
from tunesmith.models import load_model, load_tokenizer, resolve_model, save_model
from tunesmith.plugins import build
from tunesmith.preflight import built as preflight
from tunesmith.training.scratch import new_model

has_torchao = importlib.util.find_spec("torchao") is not None
needs_torchao = pytest.mark.skipif(not has_torchao, reason="the extra torchao is not installed")
MODES = ("dynamic", "weight_only")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with an untied model of rows worth rounding."""
    shape = SHAPE.model_copy(
        update={"hidden_size": 128, "intermediate_size": 256, "tied_embeddings": False}
    )
    tokenizer = load_tokenizer(tiny_model())
    folder = tmp_path_factory.mktemp("model")
    save_model(new_model(shape, tokenizer, 0), tokenizer, folder)
    return folder


def write(model, out, mode="dynamic"):
    return build(Quantizer, {"name": "torchao_int8", "mode": mode}).quantize(model, out).metrics


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    folders = {mode: tmp_path_factory.mktemp(mode) for mode in MODES}
    return {mode: (folder, write(model, folder, mode)) for mode, folder in folders.items()}


@torch.no_grad()
def logits(folder):
    return load_model(folder)(torch.arange(3, 63).reshape(2, 30)).logits


@needs_torchao
@pytest.mark.parametrize("mode", MODES)
def test_weights_are_int8_with_a_scale_per_row_and_within_half_a_step(model, written, mode):
    before = load_file(model / "model.safetensors")
    after = load_file(written[mode][0] / "model.safetensors")
    matrices = [n for n, w in before.items() if w.dim() > 1 and "embed" not in n]
    for name in matrices:
        values, scale = after[f"{name}_int8"], after[f"{name}_scale"]
        assert (values.dtype, scale.shape) == (torch.int8, (len(values), 1))
        step = before[name].float().abs().amax(dim=1, keepdim=True) / 127.5
        assert torch.allclose(scale, step, rtol=1e-5)
        # Half a step, and half more at the one end where int8 has a value less.
        assert ((values * scale - before[name].float()).abs() <= step * (0.5 + 1e-3)).all()
    parts = {f"{name}{part}" for name in matrices for part in ("_int8", "_scale")}
    assert set(after) == (set(before) - set(matrices)) | parts


@needs_torchao
def test_it_is_smaller_on_disk_and_says_by_how_much(model, written):
    folder, metrics = written["dynamic"]
    size = (folder / "model.safetensors").stat().st_size
    assert metrics["bytes"] == size < 0.5 * (model / "model.safetensors").stat().st_size
    assert metrics["kept"] == ["model.embed_tokens.weight"]
    assert json.loads((folder / "report.json").read_text()) == metrics


@needs_torchao
def test_the_loaded_model_computes_with_torchaos_int8_tensors(written):
    from torchao.quantization import Int8Tensor

    for mode in MODES:
        loaded = load_model(written[mode][0])
        weight = loaded.model.layers[0].mlp.up_proj.weight
        assert isinstance(weight, Int8Tensor)
        assert weight.qdata.dtype == torch.int8
        assert (weight.act_quant_kwargs is not None) == (mode == "dynamic")


@needs_torchao
@pytest.mark.parametrize("mode", MODES)
def test_it_computes_what_torchaos_own_quantize_does(model, written, mode):
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
        quantize_,
    )

    kind = Int8DynamicActivationInt8WeightConfig if mode == "dynamic" else Int8WeightOnlyConfig
    theirs = load_model(model)
    quantize_(theirs, kind(set_inductor_config=False))
    with torch.no_grad():
        expected = theirs(torch.arange(3, 63).reshape(2, 30)).logits
    assert torch.allclose(logits(written[mode][0]), expected, atol=1e-5)


@needs_torchao
def test_outputs_are_near_the_parents_and_weight_only_is_nearer(model, written):
    exact = logits(model)
    errors = {mode: float((logits(written[mode][0]) - exact).pow(2).mean()) for mode in MODES}
    assert 0 < errors["weight_only"] < errors["dynamic"]
    assert errors["dynamic"] < 0.001 * float(exact.var())


def answers(folder, prompts, new=1):
    how = Generation(build(Sampler, "greedy"), new, [0] * len(prompts), ())
    with build(Engine, "transformers").open(folder) as opened:
        return [answer.ids for answer in opened.generate(prompts, how)]


@needs_torchao
@pytest.mark.parametrize("mode", MODES)
def test_a_trained_model_keeps_its_answers_at_its_own_precision(tmp_path, mode):
    nano = resolve_model("builtin:nano")
    metrics = write(nano, tmp_path, mode)
    assert build(Engine, "transformers").reads(tmp_path)
    text = "Tom had 7 kites and gave 2 to Mia. The cat sat by the river. What is 12 plus 5? "
    ids = load_tokenizer(nano)(text)["input_ids"]
    prompts = [ids[:end] for end in range(3, len(ids))]
    pairs = zip(answers(nano, prompts), answers(tmp_path, prompts), strict=True)
    assert sum(a == b for a, b in pairs) / len(prompts) >= 0.9
    assert metrics["bytes"] < (nano / "model.safetensors").stat().st_size


@needs_torchao
def test_the_same_model_gives_the_same_bytes(model, written, tmp_path):
    write(model, tmp_path)
    first = written["dynamic"][0] / "model.safetensors"
    assert (tmp_path / "model.safetensors").read_bytes() == first.read_bytes()


@needs_torchao
def test_what_is_quantized_is_not_quantized_again(written, tmp_path):
    with pytest.raises(ModelError, match="int8 weights already"):
        write(written["dynamic"][0], tmp_path)


def changed(folder, out, change):
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    held = load_file(out / "model.safetensors")
    change(held)
    save_file(held, out / "model.safetensors", metadata={"format": "pt"})
    return out


UP = "model.layers.0.mlp.up_proj.weight"
VALUES, SCALE = f"{UP}_int8", f"{UP}_scale"


@needs_torchao
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held: held.pop(VALUES), "1 tensors are missing"),
        (lambda held: held.pop("model.norm.weight"), "1 tensors are missing"),
        (lambda held: held.update({VALUES: held[VALUES][:5].clone()}), "must be int8 of shape"),
        (lambda held: held[SCALE].fill_(torch.nan), "one positive number per row"),
        (lambda held: held["model.norm.weight"].fill_(torch.inf), "NaN or infinity"),
    ],
)
def test_damaged_weights_are_refused(written, tmp_path, change, says):
    with pytest.raises(ModelError, match=says):
        load_model(changed(written["dynamic"][0], tmp_path, change))


@needs_torchao
def test_a_program_that_does_not_know_the_names_misses_the_weights(written):
    from transformers import AutoModelForCausalLM

    _, info = AutoModelForCausalLM.from_pretrained(written["dynamic"][0], output_loading_info=True)
    assert UP in info["missing_keys"]


def test_preflight_says_what_to_install(monkeypatch):
    from types import SimpleNamespace

    from tunesmith.places import Place

    monkeypatch.setattr(preflight, "_importable", lambda module: module != "torchao")
    said = []
    plan = SimpleNamespace(problem=lambda path, text: said.append(text))
    place = Place("optimise.quantizer", Quantizer, {"name": "torchao_int8"})
    preflight._check(place, build(Quantizer, "torchao_int8"), plan)
    assert said == [
        "torchao_int8 needs the module 'torchao', which is not installed: `pip install torchao`."
    ]
