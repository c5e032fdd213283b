"""Model folders: what is read, what is refused, and what is written."""

import json
import shutil
import struct

import pytest
from tests.tiny_models import tiny_model, weights

from tunesmith import ModelError
from tunesmith.models import (
    check_model,
    context_length,
    inspect_model,
    load_model,
    load_tokenizer,
    parameter_count,
    resolve_model,
    save_model,
    weights_digest,
)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(tiny_model(), tmp_path / "model")


def change(path, **values):
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **values}))


def test_facts_come_from_the_files_alone(folder):
    facts = inspect_model(folder)
    model = load_model(folder)
    assert facts.architecture == "LlamaForCausalLM"
    assert facts.parameters == parameter_count(folder) == model.num_parameters()
    assert (facts.vocab, facts.context, facts.dtype) == (model.config.vocab_size, 128, "F32")
    assert facts.has_chat_template
    assert facts.eos == "<|end|>"
    assert facts.bytes == (folder / "model.safetensors").stat().st_size
    assert facts.problems == ()


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    for name in ("a", "b"):
        save_model(load_model(folder), load_tokenizer(folder), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert weights(tmp_path / "a") == weights(folder)
    assert weights_digest(tmp_path / "a") == weights_digest(tmp_path / "b")


def test_saved_in_bf16_it_is_read_in_fp32(folder, tmp_path):
    save_model(load_model(folder), load_tokenizer(folder), tmp_path / "half", dtype="bfloat16")
    assert inspect_model(tmp_path / "half").dtype == "BF16"
    assert str(load_model(tmp_path / "half").dtype) == "torch.float32"
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "x.pth", "x.pkl", "model.ckpt", "a.joblib"]
)
def test_a_folder_with_only_pickle_weights_is_refused(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelError, match=f"{name}.*save_pretrained"):
        load_model(folder)


def test_a_pickle_under_a_safetensors_name_is_never_opened(folder, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(folder)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_beside_safetensors_is_left_alone(folder):
    (folder / "training_args.bin").write_bytes(b"\x80\x04.")
    assert check_model(folder).problems == ()


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_missing_file_is_named(folder, gone, said):
    (folder / gone).unlink()
    with pytest.raises(ModelError, match=said):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_refused(folder, name):
    change(folder / name, auto_map={"AutoModelForCausalLM": "evil.Evil"})
    with pytest.raises(ModelError, match="auto_map"):
        load_tokenizer(folder)


def test_a_truncated_weight_file_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="bytes long"):
        load_model(folder)


def test_a_header_that_claims_everything_is_refused(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(ModelError, match="claims"):
        load_model(folder)


def test_a_missing_shard_is_named(folder):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="00002-of-00002"):
        load_model(folder)


def test_weights_that_do_not_fill_the_model_are_refused(folder):
    change(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match="tensors are missing"):
        load_model(folder)


def test_weights_of_another_shape_are_refused(folder):
    change(folder / "config.json", intermediate_size=80)
    with pytest.raises(ModelError, match="shape"):
        load_model(folder)


def test_nan_weights_are_refused(folder):
    model = load_model(folder)
    model.model.norm.weight.data[3] = float("nan")
    save_model(model, load_tokenizer(folder), folder)
    with pytest.raises(ModelError, match=r"model\.norm\.weight hold NaN"):
        load_model(folder)


def test_a_tokenizer_larger_than_the_model_is_refused(folder):
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="322 tokens and the model only 321"):
        load_tokenizer(folder)


def test_a_config_that_is_no_json_is_a_problem_not_a_crash(folder):
    (folder / "config.json").write_text("{")
    assert any("cannot be read as JSON" in problem for problem in inspect_model(folder).problems)


def test_the_context_must_be_stated(folder):
    assert context_length(folder) == 128
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="max_position_embeddings"):
        context_length(folder)


def test_references_to_models(folder, monkeypatch):
    monkeypatch.delenv("TUNESMITH_HUB", raising=False)
    assert resolve_model(folder) == folder
    assert resolve_model(str(folder)) == folder
    with pytest.raises(ModelError, match="builtin:nano"):
        resolve_model("builtin:nan")
    with pytest.raises(ModelError, match="TUNESMITH_HUB=1"):
        resolve_model("owner/name")
    with pytest.raises(ModelError, match="No model folder"):
        resolve_model("../not/there")
