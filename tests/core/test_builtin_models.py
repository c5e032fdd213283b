"""The models that ship with the package are whole, small, and what they say they are."""

import hashlib
import json
from pathlib import Path

import pytest

import tunesmith
from tunesmith import Accelerator, Engine, Quantizer
from tunesmith.generation.drafting import check_draft
from tunesmith.generation.proof import prove
from tunesmith.generation.proof_prompts import PROMPTS, asked_of
from tunesmith.models import inspect_model, load_tokenizer, resolve_model
from tunesmith.plugins import build

ASSETS = Path(tunesmith.__file__).parent / "assets"


def test_nano_is_small_bf16_and_chats():
    facts = inspect_model(resolve_model("builtin:nano"))
    assert facts.problems == ()
    assert (facts.architecture, facts.dtype) == ("LlamaForCausalLM", "BF16")
    assert facts.parameters <= 4_000_000
    assert facts.bytes < 10_000_000
    assert facts.context >= 1024
    assert facts.has_chat_template


def test_nano_fits_every_gguf_type():
    config = json.loads((resolve_model("builtin:nano") / "config.json").read_text())
    assert config["hidden_size"] % 256 == 0
    assert config["intermediate_size"] % 256 == 0


def test_nano_reads_digits_one_by_one_and_gives_any_text_back():
    tokenizer = load_tokenizer(resolve_model("builtin:nano"))
    text = "Élan 598 + 46 = 644\n\tdef f(x): 漢字 🙂"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert len(tokenizer.encode("598", add_special_tokens=False)) == 3


@pytest.mark.parametrize(
    "folder", [p for p in ASSETS.iterdir() if p.is_dir()], ids=lambda p: p.name
)
def test_files_are_those_of_the_manifest(folder: Path):
    manifest = json.loads((folder / "manifest.json").read_text())
    found = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.iterdir()
        if p.name != "manifest.json"
    }
    assert found == manifest["files"]


def test_nano_draft_is_small_and_has_the_nano_s_tokenizer():
    facts = inspect_model(resolve_model("builtin:nano-draft"))
    assert facts.problems == ()
    assert facts.parameters <= 500_000
    check_draft(resolve_model("builtin:nano-draft"), resolve_model("builtin:nano"))


@pytest.mark.parametrize("engine", ["transformers", "llamacpp"])
def test_nano_draft_writes_ahead_for_the_nano_without_changing_a_word(engine, tmp_path):
    nano = resolve_model("builtin:nano")
    folder = nano
    if engine == "llamacpp":
        build(Quantizer, {"name": "gguf", "type": "f32"}).quantize(nano, tmp_path)
        folder = tmp_path
    draft = build(
        Accelerator, {"name": "speculative_draft_model", "model": "builtin:nano-draft", "tokens": 3}
    )
    proof = prove(build(Engine, engine), [draft], folder, *asked_of(nano, PROMPTS, 32), 32, 0, 1)
    assert proof.lossless and proof.facts()["mismatches"] == []
    assert proof.counts["target_steps"] < 0.8 * proof.counts["plain_steps"]


def test_both_files_of_nano_draft_hold_the_same_weights(tmp_path):
    folder = resolve_model("builtin:nano-draft")
    build(Quantizer, {"name": "gguf", "type": "bf16"}).quantize(folder, tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == (folder / "model.gguf").read_bytes()
