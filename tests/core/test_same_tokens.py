"""Tokenizers are compared by what they do, and the first difference is named."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.tiny_models import tiny_model

from tunesmith import ModelError
from tunesmith.models import load_tokenizer, resolve_model
from tunesmith.training.same_tokens import first_difference, require_same_tokens

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).parents[3] / "shared"))
STRANGER = SHARED / "models" / "babyllama105"


def changed(tmp_path, change, name="tokenizer.json"):
    """Return the tiny tokenizer after a change of one of its files."""
    folder = shutil.copytree(tiny_model(), tmp_path / "changed")
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(tiny_model())


def test_a_copy_is_the_same(tokenizer):
    assert first_difference(tokenizer, load_tokenizer(tiny_model())) is None


def test_the_first_token_that_differs_is_named_although_the_sizes_are_equal(tokenizer, tmp_path):
    def swap(data):
        vocab = data["model"]["vocab"]
        vocab["a"], vocab["b"] = vocab["b"], vocab["a"]

    other, number = changed(tmp_path, swap), tokenizer.get_vocab()["a"]
    assert len(other) == len(tokenizer)
    assert (
        first_difference(tokenizer, other)
        == f"token {number} is 'a' to the teacher and 'b' to the student."
    )


def test_equal_vocabularies_with_other_merges_differ_in_a_text(tokenizer, tmp_path):
    other = changed(tmp_path, lambda data: data["model"].update(merges=[]))
    assert other.get_vocab() == tokenizer.get_vocab()
    rows = [{"prompt": [{"role": "user", "content": "Mia saw kites"}], "completion": "kites"}]
    found = first_difference(tokenizer, other, rows)
    assert found.startswith("the text 'The quick brown fox") and "cut differently" in found


def test_the_texts_that_will_be_learnt_are_probes_too(tokenizer, tmp_path):
    def normalise(data):
        data["normalizer"] = {"type": "Replace", "pattern": {"String": "kites"}, "content": "kite"}

    other = changed(tmp_path, normalise)
    assert first_difference(tokenizer, other) is None
    found = first_difference(tokenizer, other, [{"prompt": "Mia saw kites", "completion": "no"}])
    assert "'Mia saw kites' is cut differently" in found


def test_another_end_or_template_is_a_difference(tokenizer, tmp_path):
    other = load_tokenizer(tiny_model())
    other.eos_token = "<|pad|>"
    assert "the eos_token is '<|end|>' to the teacher" in first_difference(tokenizer, other)
    other = load_tokenizer(tiny_model())
    other.chat_template = other.chat_template.replace("<|assistant|>", "<|user|>")
    assert "the chat templates write the same conversation as" in first_difference(tokenizer, other)


def test_a_refusal_says_what_works_across_tokenizers(tokenizer):
    with pytest.raises(ModelError, match=r"logit .* token \d+ is .* `sequence`, which works"):
        require_same_tokens("logit", tokenizer, load_tokenizer(resolve_model("builtin:nano")))


@pytest.mark.skipif(not STRANGER.is_dir(), reason=f"no model at {STRANGER}")
def test_a_stranger_without_a_template_is_the_same_as_itself_and_no_other(tokenizer):
    stranger = load_tokenizer(STRANGER)
    assert first_difference(stranger, load_tokenizer(STRANGER)) is None
    assert "token 0 is '<unk>' to the teacher" in first_difference(stranger, tokenizer)
