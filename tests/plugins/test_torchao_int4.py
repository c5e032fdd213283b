"""int4 is for a CUDA GPU: most can be told without one, the last tests need it."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import SHAPE, tiny_model

from tunesmith import ModelError, Quantizer, int4_weights
from tunesmith.models import inspect_model, load_model, load_tokenizer, save_model
from tunesmith.plugins import build
from tunesmith.preflight import built as preflight
from tunesmith.training.scratch import new_model
from tunesmith_plugins.quantizers.torchao_int4 import TorchaoInt4, _stored, _write, divided

has_torchao = importlib.util.find_spec("torchao") is not None
needs_torchao = pytest.mark.skipif(not has_torchao, reason="the extra torchao is not installed")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
needs_gpu = pytest.mark.skipif(
    not has_torchao or bool(int4_weights.why_not_here()),
    reason="int4 needs torchao and a CUDA GPU of compute capability 8.0",
)
GROUP = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with an untied model whose down projections have rows of 160, no multiple of 64."""
    shape = SHAPE.model_copy(
        update={"hidden_size": 128, "intermediate_size": 160, "tied_embeddings": False}
    )
    tokenizer = load_tokenizer(tiny_model())
    folder = tmp_path_factory.mktemp("model")
    save_model(new_model(shape, tokenizer, 0), tokenizer, folder)
    return folder


@without_gpu
def test_without_a_gpu_it_is_refused_and_told_what_to_use(model, tmp_path):
    with pytest.raises(ModelError, match=r"no CUDA GPU here.*type: q4_k_m"):
        build(Quantizer, "torchao_int4").quantize(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@without_gpu
@needs_torchao
def test_preflight_says_the_same():
    from types import SimpleNamespace

    from tunesmith.places import Place

    said = []
    plan = SimpleNamespace(problem=lambda path, text: said.append((path, text)))
    place = Place("optimise.quantizer", Quantizer, {"name": "torchao_int4"})
    preflight._check(place, build(Quantizer, "torchao_int4"), plan)
    assert [path for path, _ in said] == ["optimise.quantizer"]
    assert "there is no CUDA GPU here" in said[0][1]


@needs_torchao
@pytest.mark.parametrize("group", int4_weights.GROUPS)
def test_the_group_size_is_what_torchao_is_told(group):
    from torchao.quantization import Int4WeightOnlyConfig

    made = TorchaoInt4(group_size=group).config()
    assert isinstance(made, Int4WeightOnlyConfig)
    assert (made.group_size, made.int4_packing_format.value) == (group, "tile_packed_to_4d")


def test_groups_that_the_kernel_does_not_have_are_refused():
    from tunesmith.errors import ConfigError

    with pytest.raises((ConfigError, ValueError), match="group_size"):
        build(Quantizer, {"name": "torchao_int4", "group_size": 100})


def test_layers_whose_rows_do_not_divide_into_groups_are_named(model):
    layers, fallbacks = divided(load_model(model), GROUP)
    assert "model.layers.0.mlp.up_proj" in layers
    assert fallbacks == [f"model.layers.{n}.mlp.down_proj: rows of 160" for n in (0, 1)]
    assert divided(load_model(model), 32)[1] == []


def test_an_output_matrix_tied_to_the_embedding_is_left_alone():
    layers, fallbacks = divided(load_model(tiny_model()), 32)
    assert "lm_head" not in layers
    assert fallbacks == []


@needs_torchao
@pytest.mark.parametrize("shape", [(128, 128), (64, 1024), (12, 1100)])
@pytest.mark.parametrize("group", int4_weights.GROUPS)
def test_the_shapes_on_disk_are_those_of_torchaos_packing(shape, group, monkeypatch):
    """torchao's own from_hp, its one CUDA operation replaced by an empty tensor of its shape."""
    from torchao.quantization import Int4TilePackedTo4dTensor

    def packed(halves, inner):
        rows, columns = halves.shape[0], 2 * halves.shape[1]
        return torch.zeros(rows // 8, columns // (inner * 16), 32, inner // 2, dtype=torch.int32)

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    monkeypatch.setattr(torch.ops.aten, "_convert_weight_to_int4pack", packed)
    made = Int4TilePackedTo4dTensor.from_hp(torch.randn(shape, dtype=torch.bfloat16), [1, group])
    wanted = int4_weights.stored_shapes(shape, group)
    assert (tuple(made.qdata.shape), tuple(made.scale_and_zero.shape)) == wanted


def tiles(shape, group):
    """torchao's tensor for a matrix, with arbitrary values in its tiles."""
    values, scales = int4_weights.stored_shapes(shape, group)
    spread = torch.Generator().manual_seed(shape[0])
    return int4_weights.int4_tensor(
        torch.randint(-(2**31), 2**31 - 1, values, generator=spread, dtype=torch.int32),
        torch.randn(scales, generator=spread, dtype=torch.bfloat16),
        group,
        shape,
    )


@pytest.fixture
def folder(model, tmp_path):
    """A folder written as after rounding; the tiles hold no weights of any model."""
    loaded = load_model(model, "bfloat16")
    layers, _ = divided(loaded, GROUP)
    for name in layers:
        module = loaded.get_submodule(name)
        packed = tiles(tuple(module.weight.shape), GROUP)
        module.weight = torch.nn.Parameter(packed, requires_grad=False)
    out = tmp_path / "int4"
    out.mkdir()
    _write(_stored(loaded, layers), model, out, GROUP)
    return out


UP = "model.layers.0.mlp.up_proj.weight"
VALUES, SCALES = f"{UP}_int4", f"{UP}_scale_and_zero"


@needs_torchao
def test_torchaos_tensors_come_back_from_safetensors(model, folder):
    from torchao.quantization import Int4TilePackedTo4dTensor

    assert inspect_model(folder).problems == ()
    assert int4_weights.group_of(folder) == GROUP
    stored = load_file(folder / "model.safetensors")
    assert UP not in stored
    loaded = load_model(model, "bfloat16")
    int4_weights.fill(folder, loaded, stored, GROUP, torch.bfloat16)
    back, before = loaded.model.layers[0].mlp.up_proj.weight, tiles((160, 128), GROUP)
    assert isinstance(back, Int4TilePackedTo4dTensor)
    assert (tuple(back.shape), back.block_size) == ((160, 128), [1, GROUP])
    assert torch.equal(back.qdata, before.qdata)
    assert torch.equal(back.scale_and_zero, before.scale_and_zero)
    kept = loaded.model.layers[0].mlp.down_proj.weight
    assert torch.equal(kept, load_model(model, "bfloat16").model.layers[0].mlp.down_proj.weight)


@needs_torchao
@without_gpu
def test_a_folder_with_int4_weights_is_not_opened_without_a_gpu(folder):
    with pytest.raises(ModelError, match=r"cannot run here: .* no CUDA GPU"):
        load_model(folder)


@needs_torchao
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held: held.pop(VALUES), "1 tensors are missing"),
        (lambda held: held.pop(SCALES), "must be finite bfloat16"),
        (lambda held: held[SCALES].fill_(torch.nan), "must be finite bfloat16"),
        (lambda held: held.update({VALUES: held[VALUES][:5].clone()}), "must be int32 of shape"),
        (lambda held: held["model.norm.weight"].fill_(torch.inf), "NaN or infinity"),
    ],
)
def test_damaged_weights_are_refused(model, folder, change, says):
    held = load_file(folder / "model.safetensors")
    change(held)
    held.pop(SCALES if says.startswith("1 ") else "", None)
    with pytest.raises(ModelError, match=says):
        int4_weights.fill(folder, load_model(model, "bfloat16"), held, GROUP, torch.bfloat16)


def test_what_is_quantized_is_refused_at_preflight(tmp_path):
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    said = TorchaoInt4().problems_with_model(tmp_path)
    assert said == [f"{tmp_path} is quantized already; quantize the model it is of."]


def test_a_group_size_that_nobody_writes_is_refused(tmp_path):
    config = '{"quantization_config": {"quant_method": "tunesmith_torchao_int4", "group_size": 7}}'
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match="groups of 7; there are 32, 64, 128, 256"):
        int4_weights.group_of(tmp_path)


@needs_gpu
def test_on_a_gpu_the_outputs_are_near_the_parents(model, tmp_path):
    metrics = TorchaoInt4(group_size=32).quantize(model, tmp_path).metrics
    assert metrics["fallbacks"] == []
    ids = torch.arange(3, 63).reshape(2, 30)
    with torch.no_grad():
        exact, rounded = load_model(model)(ids).logits, load_model(tmp_path)(ids.cuda()).logits
    error = (rounded.float().cpu() - exact).pow(2).mean() / exact.var()
    assert 0 < float(error) < 0.05


@needs_gpu
def test_on_a_gpu_the_same_model_gives_the_same_bytes(model, tmp_path):
    for name in ("a", "b"):
        TorchaoInt4().quantize(model, tmp_path / name)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
