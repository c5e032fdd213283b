"""Training methods and adapters: each learns, and leaves what it says it leaves."""

from math import exp
from pathlib import Path

import pytest
from tests.tiny_models import SHAPE, questions, sentences, tiny_model, weights

from tunesmith import DataError, ModelError, TrainingJob
from tunesmith.chat import encode_prompt
from tunesmith.models import inspect_model, load_model, load_tokenizer
from tunesmith.training import TokenLoss, TokenRows
from tunesmith.training.hardware import can_compile
from tunesmith_plugins.adapters.full import Full
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.methods.pretrain import Pretrain
from tunesmith_plugins.methods.sft import Sft


def job(folder: Path, **fields) -> TrainingJob:
    fields = {"rows": questions(80), "seed": 5, "model_dir": tiny_model(), **fields}
    return TrainingJob(out=folder / "out", work=folder / "work", **fields)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def logits(model, ids):
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits


SFT = Sft(steps=25, batch_tokens=512, learning_rate=5e-3, dtype="float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    SFT.model_copy(update={"steps": 60}).train(job(folder))
    return folder / "out"


@pytest.mark.parametrize("adapter", [None, Full(), Lora(r=8)])
def test_sft_lowers_the_loss_on_rows_it_has_not_seen(tmp_path, trained, adapter):
    fields = {
        "rows": questions(80, answer="No, thank you."),
        "eval_rows": questions(20, seed=9, answer="No, thank you."),
        "model_dir": trained,
    }
    untaught = SFT.model_copy(update={"steps": 1, "learning_rate": 1e-9})
    before = untaught.train(job(tmp_path / "before", **fields))
    after = SFT.train(job(tmp_path / "after", adapter=adapter, **fields))
    assert after.metrics["eval_loss"] < 0.8 * before.metrics["eval_loss"]
    assert after.metrics["rows_too_long"] == 0
    assert after.timings["tokens_per_second"] > 0


def test_sft_learns_completions_only_unless_told_otherwise(tmp_path):
    one = Sft(steps=1, dtype="float32").train(job(tmp_path / "a"))
    both = Sft(steps=1, dtype="float32", learn="all").train(job(tmp_path / "b"))
    assert one.metrics["loss"] != both.metrics["loss"]
    assert one.metrics["tokens"] == both.metrics["tokens"]


def test_rows_too_long_for_the_model_are_counted(tmp_path):
    long = {"prompt": "kite " * 200, "completion": "no"}
    outcome = SFT.train(job(tmp_path, rows=[*questions(20), long]))
    assert (outcome.metrics["rows"], outcome.metrics["rows_too_long"]) == (20, 1)
    with pytest.raises(ModelError, match="at most 128"):
        Sft(max_length=4096).train(job(tmp_path / "b"))


def test_sft_twice_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        SFT.train(job(tmp_path / name, adapter=Lora(r=2, dropout=0.2)))
    assert files(tmp_path / "a" / "out") == files(tmp_path / "b" / "out")


@pytest.mark.parametrize("adapter", [None, Lora(r=2, dropout=0.2)])
def test_recomputing_activations_changes_no_weight(tmp_path, adapter):
    thrifty = SFT.model_copy(update={"recompute": True})
    for name, sft in (("a", SFT), ("b", thrifty)):
        sft.train(job(tmp_path / name, adapter=adapter))
    assert weights(tmp_path / "a" / "out") == weights(tmp_path / "b" / "out")


def test_sft_needs_a_model(tmp_path):
    with pytest.raises(ModelError, match="needs a model"):
        SFT.train(job(tmp_path, model_dir=None))


def test_sft_refuses_pickled_weights(tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model(), tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        SFT.train(job(tmp_path, model_dir=folder))


def test_lora_trains_only_its_own_parameters():
    model = Lora(r=3).wrap(load_model(tiny_model()))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    assert all(p.shape[0] == 3 for n, p in model.named_parameters() if "lora_A" in n)
    assert not any("lm_head" in name or "embed" in name for name in learning)


def test_merged_lora_is_the_model_that_was_trained(tmp_path):
    from peft import PeftModel

    outcome = SFT.train(job(tmp_path, adapter=Lora(r=4)))
    assert outcome.metrics["merge_agreement"] == 1.0
    assert outcome.metrics["trainable_parameters"] < inspect_model(tiny_model()).parameters / 2
    merged = load_model(tmp_path / "out")
    apart = PeftModel.from_pretrained(load_model(tiny_model()), tmp_path / "out" / "adapter").eval()
    ids = encode_prompt(load_tokenizer(tmp_path / "out"), questions(1)[0]["prompt"])
    assert logits(merged, ids).sub(logits(apart, ids)).abs().max() < 1e-4
    assert weights(tmp_path / "out") != weights(tiny_model())


def test_the_adapter_folder_tells_nothing_of_this_machine(tmp_path):
    SFT.train(job(tmp_path, adapter=Lora(r=2)))
    names = sorted(path.name for path in (tmp_path / "out" / "adapter").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    for content in files(tmp_path / "out").values():
        assert str(tmp_path).encode() not in content
        assert str(tiny_model()).encode() not in content


def test_a_merge_that_changes_the_model_is_refused(tmp_path):
    class Wrong(Lora):
        def merge(self, model):
            merged = super().merge(model)
            merged.model.norm.weight.data.neg_()
            return merged

    with pytest.raises(ModelError, match="After merging the lora adapter only"):
        SFT.train(job(tmp_path, adapter=Wrong(r=2)))
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_lora_says_why_it_does_not_fit():
    with pytest.raises(ModelError, match="does not fit"):
        Lora(target_modules=("nothing",)).wrap(load_model(tiny_model()))
    with pytest.raises(ModelError, match="share"):
        Lora(target_modules=("embed_tokens", "q_proj")).wrap(load_model(tiny_model()))


def documents(count: int, seed: int = 0) -> list[dict]:
    return [{"text": text} for text in sentences(count, seed)]


# Thirty steps teach something only at rates that would ruin a longer run.
PRETRAIN = Pretrain(
    architecture=SHAPE, sequence=64, steps=30, batch_tokens=1024, packed=0.5, dtype="float32",
    learning_rate=3e-3, muon_learning_rate=0.012,
)  # fmt: skip


def test_pretraining_from_nothing_gives_a_model_that_can_chat(tmp_path):
    rows, held = documents(300), documents(30, seed=8)
    fields = {"rows": rows, "eval_rows": held, "model_dir": None}
    outcome = PRETRAIN.train(job(tmp_path, **fields))
    assert outcome.metrics["eval_loss"] < 3.5  # ln 312 = 5.7 knows nothing
    assert outcome.metrics["eval_perplexity"] == pytest.approx(exp(outcome.metrics["eval_loss"]))
    facts = inspect_model(tmp_path / "out")
    assert (facts.dtype, facts.problems, facts.context) == ("BF16", (), SHAPE.context)
    assert facts.parameters == outcome.metrics["parameters"]
    assert facts.has_chat_template
    tokenizer = load_tokenizer(tmp_path / "out")
    assert [tokenizer.decode([i]) for i in range(5)] == [
        "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>",
    ]  # fmt: skip
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": "a kite"}])
    assert logits(load_model(tmp_path / "out"), prompt).isfinite().all()


def test_pretraining_twice_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        PRETRAIN.train(job(tmp_path / name, rows=documents(200), model_dir=None))
    assert files(tmp_path / "a" / "out") == files(tmp_path / "b" / "out")


@pytest.mark.skipif(not can_compile(), reason="torch.compile needs a C++ compiler")
def test_compiling_changes_nothing_that_is_learnt(tmp_path):
    plain, fused = (
        Pretrain(steps=3, sequence=64, dtype="float32", compile=compiled, micro_tokens=256)
        .train(job(tmp_path / str(compiled), rows=documents(60)))
        .metrics["loss"]
        for compiled in (False, True)
    )
    assert plain == pytest.approx(fused, abs=1e-4)


@pytest.mark.skipif(not can_compile(), reason="torch.compile needs a C++ compiler")
def test_the_trunk_is_compiled_where_that_is_asked_for():
    import torch

    rows = TokenRows.build([])
    fused, plain = (TokenLoss(load_model(tiny_model()), rows, compiled=c) for c in (True, False))
    compiled = torch._dynamo.eval_frame.OptimizedModule
    assert isinstance(fused.forward.parts[0], compiled)
    assert not isinstance(plain.forward.parts[0], compiled)


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "C++ compiler" in Pretrain(compile=True).problems()[0]


def test_pretraining_goes_on_from_a_given_model(tmp_path):
    more = PRETRAIN.model_copy(update={"steps": 10})
    outcome = more.train(job(tmp_path, rows=documents(100)))
    assert outcome.metrics["parameters"] == inspect_model(tiny_model()).parameters
    tokenizers = [load_tokenizer(folder).get_vocab() for folder in (tmp_path / "out", tiny_model())]
    assert tokenizers[0] == tokenizers[1]


def test_pretraining_options_that_contradict_each_other_are_refused(tmp_path):
    assert "not both" in Pretrain(tokens=10, steps=10).problems()[0]
    assert "exceeds the context" in Pretrain(sequence=4096).problems()[0]
    with pytest.raises(DataError, match="Row 0 has the columns"):
        PRETRAIN.train(job(tmp_path, model_dir=None))
    with pytest.raises(ValueError, match="must divide"):
        SHAPE.__class__(hidden_size=100, heads=3)
