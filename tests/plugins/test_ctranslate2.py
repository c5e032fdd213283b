"""CTranslate2 says what the reference says, smaller in int8, and refuses what it cannot do."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from sampling_laws import by_definition, chi_square_p
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from tunesmith import Engine, Generation, ModelError, Quantizer, Sampler
from tunesmith.models import load_tokenizer, resolve_model, save_model
from tunesmith.plugins import build
from tunesmith.store.manifest import refuse_pickle

pytest.importorskip("ctranslate2", reason="the extra ctranslate2 is not installed")

from tunesmith_plugins.engines.ctranslate2_engine import alike

ROOT = Path(__file__).parents[2]
BABYLLAMA = Path(os.environ.get("TUNESMITH_SHARED", ROOT.parent / "shared")) / "models/babyllama105"
needs_babyllama = pytest.mark.skipif(not BABYLLAMA.is_dir(), reason=f"no model at {BABYLLAMA}")
VOCABULARY, EOS = 64, 1
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": EOS,
}  # fmt: skip
TEXTS = ["Once upon a time", "Tom and Sue went to the park.", "The end.", "A cat", "I am"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def words():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[: VOCABULARY - 2]
    rules = Tokenizer(
        models.BPE(vocab={w: i for i, w in enumerate(["<s>", "</s>", *letters])}, merges=[])
    )
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=rules, bos_token="<s>", eos_token="</s>")


def made(folder, config, seed=9):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    save_model(model, words(), folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return made(tmp_path_factory.mktemp("tiny"), LlamaConfig(**SHAPE, tie_word_embeddings=False))


def written(model, out, quantization="float32"):
    spec = {"name": "ctranslate2", "quantization": quantization}
    return build(Quantizer, spec).quantize(model, out).metrics


@pytest.fixture(scope="module")
def tiny_ct2(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny-ct2")
    written(tiny, out)
    return out


@pytest.fixture(scope="module")
def opened(tiny_ct2):
    with build(Engine, "ctranslate2").open(tiny_ct2) as engine:
        yield engine


def ask(count, sampler="greedy", new=30, stops=(EOS,), seeds=None, **more):
    seeds = range(count) if seeds is None else seeds
    return Generation(build(Sampler, sampler), new, seeds, stops, **more)


def run(engine, folder, prompts, how):
    with build(Engine, engine).open(folder) as one:
        return one.generate(prompts, how)


def some_prompts(count, longest=50, seed=0):
    """Prompts of 1 to `longest` tokens; ends of turn stand among them."""
    random = Random(seed)
    return [
        [random.randrange(VOCABULARY) for _ in range(random.randrange(1, longest))]
        for _ in range(count)
    ]


class TestFloat32:
    @pytest.mark.parametrize("stops", [(), (EOS,), (5, 9)], ids=str)
    def test_greedy_answers_are_the_reference_engines_to_the_last_token(self, tiny, opened, stops):
        prompts = some_prompts(60)
        ours = run("transformers", tiny, prompts, ask(60, stops=stops))
        assert opened.generate(prompts, ask(60, stops=stops)) == ours
        if stops:
            assert {answer.finish for answer in ours} == {"stop", "length"}

    def test_so_are_those_of_the_built_in_model(self, tmp_path):
        self.same_on(resolve_model("builtin:nano"), tmp_path)

    @needs_babyllama
    def test_and_those_of_babyllama(self, tmp_path):
        self.same_on(BABYLLAMA, tmp_path)

    def same_on(self, model, out):
        written(model, out)
        tokenizer = load_tokenizer(model)
        prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
        how = ask(len(prompts), new=60, stops=())
        assert run("ctranslate2", out, prompts, how) == run("transformers", model, prompts, how)

    @pytest.mark.parametrize(
        ("kind", "more"),
        [
            ("llama", {"attention_bias": True, "mlp_bias": True}),
            ("llama", {"tie_word_embeddings": True, "head_dim": 32}),
            ("llama", {"num_key_value_heads": 4}),
            ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0,
                                           "rope_theta": 5000.0}}),
            ("mistral", {"sliding_window": None}),
            ("qwen2", {"vocab_size": VOCABULARY + 8}),
            ("qwen3", {"vocab_size": VOCABULARY + 8, "head_dim": 16}),
        ],
        ids=str,
    )  # fmt: skip
    def test_every_supported_architecture_says_what_the_reference_says(self, tmp_path, kind, more):
        config = AutoConfig.for_model(kind, **(SHAPE | more))
        model = made(tmp_path / "model", config)
        written(model, tmp_path / "ct2")
        prompts, how = some_prompts(12, seed=4), ask(12, stops=())
        ours = run("transformers", model, prompts, how)
        assert run("ctranslate2", tmp_path / "ct2", prompts, how) == ours

    def test_the_log_probabilities_are_the_references(self, tiny, opened):
        texts = some_prompts(6, seed=2)
        with build(Engine, "transformers").open(tiny) as reference:
            wanted = reference.next_logprobs(texts, VOCABULARY)
        for mine, its in zip(opened.next_logprobs(texts, VOCABULARY), wanted, strict=True):
            assert [mine[token] for token in its] == pytest.approx(list(its.values()), abs=5e-5)


class TestInt8:
    @pytest.fixture(scope="class")
    def model(self, tmp_path_factory):
        shape = SHAPE | {"hidden_size": 128, "intermediate_size": 256}
        return made(tmp_path_factory.mktemp("wide"), LlamaConfig(**shape))

    def test_it_is_a_quarter_of_the_size_and_says_so(self, model, tmp_path):
        found = written(model, tmp_path, "int8")
        file = tmp_path / "ctranslate2/model.bin"
        assert found["bytes"] == file.stat().st_size
        assert found["bits_per_weight"] == round(8 * found["bytes"] / found["parameters"], 4)
        assert 0.25 < found["ratio"] < 0.29
        assert json.loads((tmp_path / "report.json").read_text()) == found

    def test_its_answers_are_near_the_parents_and_not_the_same(self, model, tmp_path):
        written(model, tmp_path / "int8", "int8")
        written(model, tmp_path / "float32")
        texts = some_prompts(40, seed=5)
        found = {}
        for kind in ("int8", "float32"):
            with build(Engine, "ctranslate2").open(tmp_path / kind) as one:
                rows = one.next_logprobs(texts, VOCABULARY)
            found[kind] = np.array([[row[t] for t in range(VOCABULARY)] for row in rows])
        moved = np.abs(found["int8"] - found["float32"])
        assert moved.max() > 1e-3
        assert np.median(moved) < 0.1 * np.std(found["float32"])
        same = (found["int8"].argmax(1) == found["float32"].argmax(1)).mean()
        assert same >= 0.8

    def test_the_same_model_gives_the_same_bytes_and_no_pickle(self, model, tmp_path):
        for place in ("a", "b"):
            written(model, tmp_path / place, "int8")
        files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
        for name in files:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
            refuse_pickle(tmp_path / "a" / name, str(name))
        beside = {"config.json", "tokenizer.json", "tokenizer_config.json", "report.json"}
        assert beside <= {str(name) for name in files}


class TestDrawing:
    SPECS = (
        "random",
        {"name": "temperature", "temperature": 1.7},
        {"name": "top_k", "k": 6, "temperature": 1.5},
        {"name": "top_p", "p": 0.8, "temperature": 1.5},
    )

    @pytest.mark.parametrize("spec", SPECS, ids=str)
    def test_it_draws_from_the_samplers_distribution(self, tiny, opened, spec):
        seen, draws = [60, 39, 58, 35, 61, 22], 1500
        with build(Engine, "transformers").open(tiny) as reference:
            known = reference.next_logprobs([seen], VOCABULARY)[0]
        logits = [known[token] for token in range(VOCABULARY)]
        named = {"name": spec} if isinstance(spec, str) else spec
        expected = draws * by_definition(named, logits, seen)
        answers = opened.generate([seen] * draws, ask(draws, spec, new=1, stops=()))
        counts = np.bincount([answer.ids[0] for answer in answers], minlength=VOCABULARY)
        assert not counts[expected == 0].any()
        assert chi_square_p(counts, expected) > 1e-3

    def test_a_drawn_answer_hangs_on_its_own_seed_alone(self, opened):
        prompts = some_prompts(10)
        together = opened.generate(prompts, ask(10, "random"))
        for row, prompt in enumerate(prompts):
            assert opened.generate([prompt], ask(1, "random", seeds=[row])) == [together[row]]
        assert opened.generate(prompts, ask(10, "random", seeds=range(10, 20))) != together

    @pytest.mark.parametrize("name", ["min_p", "typical", "repetition_penalty", "beam"])
    def test_a_sampler_that_it_cannot_express_is_refused(self, opened, name):
        with pytest.raises(ModelError, match=f"'{name}'; use the engine 'transformers'"):
            opened.generate([[5]], ask(1, name))


class TestBatches:
    def test_the_same_request_gives_the_same_answers_again(self, tiny_ct2, opened):
        prompts = some_prompts(40, seed=3)
        for sampler in ("greedy", "random"):
            again = run("ctranslate2", tiny_ct2, prompts, ask(40, sampler))
            assert again == opened.generate(prompts, ask(40, sampler))

    def test_prompts_too_unequal_to_be_read_together_are_parted(self):
        prompts = [[1] * size for size in (1, 1, 4, 9, 24, 25, 60)]
        parts = list(alike(range(7), prompts))
        assert parts == [[0, 1], [2, 3, 4], [5, 6]]

    def test_a_context_is_used_to_its_last_token(self, tiny, opened):
        how = ask(1, new=28, stops=())
        (answer,) = opened.generate([[5] * 100], how)
        assert len(answer.ids) == 28
        assert [answer] == run("transformers", tiny, [[5] * 100], how)


class TestRefusals:
    @pytest.mark.parametrize(
        ("prompt", "says"),
        [([5] * 100, "may grow by 30.*holds 128"), ([], "is empty"), ([64], r"outside 0\.\.63")],
    )
    def test_a_request_that_it_cannot_answer_whole(self, opened, prompt, says):
        with pytest.raises(ModelError, match=says):
            opened.generate([prompt], ask(1))

    def test_a_folder_of_another_engine(self, tiny, tiny_ct2, tmp_path):
        engine = build(Engine, "ctranslate2")
        assert (engine.reads(tiny), engine.reads(tiny_ct2)) == (False, True)
        assert not build(Engine, "transformers").reads(tiny_ct2)
        assert not build(Engine, "llamacpp").reads(tiny_ct2)
        with pytest.raises(ModelError, match=r"no CTranslate2 model.*quantizer 'ctranslate2'"):
            run("ctranslate2", tiny, [[5]], ask(1))

    def test_a_truncated_file(self, tiny_ct2, tmp_path):
        folder = shutil.copytree(tiny_ct2, tmp_path / "broken")
        file = folder / "ctranslate2/model.bin"
        file.write_bytes(file.read_bytes()[:-20_000])
        with pytest.raises(ModelError, match="CTranslate2 cannot load"):
            run("ctranslate2", folder, [[5]], ask(1))

    def test_weights_that_are_no_numbers(self, tiny, tiny_ct2, tmp_path):
        folder = shutil.copytree(tiny_ct2, tmp_path / "nan")
        file = folder / "ctranslate2/model.bin"
        whole = bytearray(file.read_bytes())
        # After a variable's name: its rank, two sizes, its type and its length in bytes.
        name = b"decoder/layer_0/ffn/linear_0/weight\0"
        begin = whole.index(name) + len(name) + 1 + 2 * 4 + 1 + 4
        whole[begin : begin + 400] = np.full(100, np.nan, np.float32).tobytes()
        file.write_bytes(bytes(whole))
        with pytest.raises(ModelError, match="gives no numbers; it is damaged"):
            run("ctranslate2", folder, [[5]], ask(1))

    @pytest.mark.parametrize(
        ("lost", "says"),
        [
            ("config.json", "no config.json beside"),
            ("ctranslate2/vocabulary.json", "vocabulary.json is not there"),
        ],
    )
    def test_a_folder_that_lacks_something(self, tiny_ct2, tmp_path, lost, says):
        folder = shutil.copytree(tiny_ct2, tmp_path / "less")
        (folder / lost).unlink()
        with pytest.raises(ModelError, match=says):
            run("ctranslate2", folder, [[5]], ask(1))

    def test_a_missing_extra_says_how_to_get_it(self, tiny_ct2, monkeypatch):
        monkeypatch.setitem(sys.modules, "ctranslate2", None)
        with pytest.raises(ModelError, match=r"pip install 'tunesmith\[ctranslate2\]'"):
            run("ctranslate2", tiny_ct2, [[5]], ask(1))

    def test_an_architecture_that_has_no_form_there(self, tmp_path):
        config = GPT2Config(
            vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=1, n_head=2,
            bos_token_id=0, eos_token_id=EOS,
        )  # fmt: skip
        model = made(tmp_path / "gpt2", config)
        with pytest.raises(ModelError, match="GPT2LMHeadModel cannot be written for CTranslate2"):
            written(model, tmp_path / "out")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"hidden_act": "gelu"}, "activation 'gelu'"),
            ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rotary scaling 'yarn'"),
            ({"sliding_window": 16}, "sliding window of 16"),
        ],
    )
    def test_features_that_would_come_out_wrong(self, tiny, change, says):
        folder_config = json.loads((tiny / "config.json").read_text()) | change
        from tunesmith_plugins.quantizers.ctranslate2_layout import objections

        assert any(says in sentence for sentence in objections(folder_config))

    def test_a_model_with_damaged_weights_is_not_written(self, tiny, tmp_path):
        model = AutoModelForCausalLM.from_pretrained(tiny)
        with torch.no_grad():
            model.lm_head.weight[3, 5] = float("nan")
        save_model(model, words(), tmp_path / "model")
        with pytest.raises(ModelError, match=r"lm_head\.weight hold NaN"):
            written(tmp_path / "model", tmp_path / "out")
