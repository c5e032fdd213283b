"""Adapters: each trains its own parameters only, and what it leaves is the model it trained."""

import json
import shutil
from importlib.util import find_spec
from math import sqrt
from pathlib import Path

import pytest
import torch
from tests.tiny_models import SHAPE, questions, tiny_model, weights

from tunesmith import Generation, Label, ModelError, Pair, TrainingJob
from tunesmith.adapted import read_marker
from tunesmith.chat import encode_prompt, stop_ids
from tunesmith.generation.scoring import score_logprobs
from tunesmith.models import (
    context_length,
    inspect_model,
    load_model,
    load_tokenizer,
    parameter_count,
    save_model,
    weights_digest,
)
from tunesmith.preferences import preference_rows
from tunesmith.training import LoopSettings, Size, TokenLoss, plan, run_loop
from tunesmith.training.adapting import trainable_parameters, wrap_model
from tunesmith.training.encoding import encode_rows
from tunesmith_plugins.adapters.dora import Dora
from tunesmith_plugins.adapters.ia3 import Ia3
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.adapters.prefix_tuning import PrefixTuning
from tunesmith_plugins.adapters.prompt_tuning import PromptTuning
from tunesmith_plugins.adapters.qlora import QLora
from tunesmith_plugins.adapters.rslora import RsLora
from tunesmith_plugins.engines.llamacpp import LlamaCpp
from tunesmith_plugins.engines.reference import TransformersEngine
from tunesmith_plugins.methods.dpo import Dpo
from tunesmith_plugins.methods.grpo import Grpo
from tunesmith_plugins.methods.sft import Sft
from tunesmith_plugins.quantizers.gguf_file import Gguf
from tunesmith_plugins.rewards.scalar_head import ScalarHead
from tunesmith_plugins.samplers.greedy import Greedy
from tunesmith_plugins.samplers.random_ import RandomSampler

four_bits = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (extra `qlora`)"
)
PROMPT, PREFIX = PromptTuning(num_virtual_tokens=6), PrefixTuning(num_virtual_tokens=6)
NARROW = PrefixTuning(num_virtual_tokens=6, encoder_hidden_size=24)
MERGED = [Lora(r=4), Dora(r=4), RsLora(r=4), Ia3()]
QUANTIZED = pytest.param(QLora(r=4), marks=four_bits)
BESIDE = [PROMPT, NARROW]
EVERY = [*MERGED, QUANTIZED, *BESIDE]
RATES = {"ia3": 0.1, "prompt_tuning": 0.1, "prefix_tuning": 0.02}
"""Peak rates where 5e-3 teaches little in thirty steps: the fewer parameters, the higher."""


def named(adapter):
    return adapter.name


every = pytest.mark.parametrize("adapter", EVERY, ids=named)
beside = pytest.mark.parametrize("adapter", BESIDE, ids=named)


def job(folder: Path, **fields) -> TrainingJob:
    fields = {"rows": questions(80), "seed": 5, "model_dir": tiny_model(), **fields}
    return TrainingJob(out=folder / "out", work=folder / "work", **fields)


def sft(adapter, steps=30, **fields):
    rate = RATES.get(adapter.name, 5e-3)
    how = {"steps": steps, "batch_tokens": 512, "learning_rate": rate, "dtype": "float32"}
    return Sft(**{**how, **fields})


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -len(ids) :]


def wrapped(adapter):
    """Return a tiny model with an adapter, as training begins with it."""
    return wrap_model(TrainingJob(rows=[], out=Path(), work=Path(), seed=5, adapter=adapter),
                      load_model(tiny_model()))  # fmt: skip


def walked(adapter, folder, steps=6):
    """Return a model that has been trained a little, still with its adapter."""
    model, rows = wrapped(adapter), encode_rows(load_tokenizer(tiny_model()), questions(40)).rows
    settings = LoopSettings(learning_rate=RATES.get(adapter.name, 5e-3))
    some = plan(rows.lengths, Size(512), 0, steps=steps)
    run_loop(model, some, TokenLoss(model, rows), settings, job(folder), {})
    return model


PROMPT_IDS = encode_prompt(load_tokenizer(tiny_model()), questions(1)[0]["prompt"])


# What learns


@pytest.mark.parametrize(
    ("adapter", "own"),
    [
        (Lora(r=4), "lora_"), (Dora(r=4), "lora_"), (RsLora(r=4), "lora_"), (Ia3(), "ia3_"),
        pytest.param(QLora(r=4), "lora_", marks=four_bits),
        (PROMPT, "prompt_encoder"), (PREFIX, "prompt_encoder"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_only_the_adapter_s_own_parameters_learn(tmp_path, adapter, own):
    before = {name: p.detach().clone() for name, p in wrapped(adapter).named_parameters()}
    model = walked(adapter, tmp_path)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning and all(own in name for name in learning)
    assert set(before) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in learning), name


LAYER = {"q": (32, 32), "k": (32, 16), "v": (32, 16), "o": (32, 32),
         "gate": (32, 64), "up": (32, 64), "down": (64, 32)}  # fmt: skip
"""Inputs and outputs of the linear layers of `SHAPE`: two heads of 16, keys and values of one."""
LOW_RANK = SHAPE.layers * sum(4 * (a + b) for a, b in LAYER.values())


@pytest.mark.parametrize(
    ("adapter", "count"),
    [
        (Lora(r=4), LOW_RANK),
        (RsLora(r=4), LOW_RANK),
        pytest.param(QLora(r=4), LOW_RANK, marks=four_bits),
        (Dora(r=4), LOW_RANK + SHAPE.layers * sum(b for _, b in LAYER.values())),
        (Lora(r=4, target_modules=("q_proj",)), SHAPE.layers * 4 * (32 + 32)),
        (Ia3(), SHAPE.layers * (16 + 16 + 64)),
        (Ia3(target_modules=("q_proj",)), SHAPE.layers * 32),
        (PROMPT, 6 * SHAPE.hidden_size),
        (PrefixTuning(num_virtual_tokens=6, prefix_projection=False), 6 * SHAPE.layers * 2 * 16),
        (NARROW, 6 * 16 + (16 + 1) * 24 + (24 + 1) * SHAPE.layers * 2 * 16),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_count_of_parameters_is_the_closed_form(adapter, count):
    assert trainable_parameters(wrapped(adapter)) == count


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A model that says words twice, or refuses where it is told to; adapters make that a habit.

    It must know both well: virtual tokens only steer what the base can do.
    """
    folder = tmp_path_factory.mktemp("taught")
    rows = [*questions(80), *refusals(80)]
    how = Sft(steps=250, batch_tokens=512, learning_rate=1e-2, dtype="float32")
    how.train(job(folder, rows=rows))
    return folder / "out"


NO = "No, thank you."


def refusals(count):
    """Return questions that are refused because they begin with other words."""
    rows = questions(count, seed=3, answer=NO)
    for row in rows:
        row["prompt"][0]["content"] = row["prompt"][0]["content"].replace("Say", "Never say")
    return rows


@every
def test_the_loss_falls_on_rows_it_has_not_seen(tmp_path, taught, adapter):
    fields = {
        "rows": questions(80, answer=NO), "eval_rows": questions(20, seed=9, answer=NO),
        "model_dir": taught, "adapter": adapter,
    }  # fmt: skip
    idle = sft(adapter, steps=1, learning_rate=1e-9).train(job(tmp_path / "before", **fields))
    after = sft(adapter).train(job(tmp_path / "after", **fields))
    assert after.metrics["eval_loss"] < 0.8 * idle.metrics["eval_loss"]


@every
def test_the_same_seed_gives_the_same_files(tmp_path, adapter):
    for name in ("a", "b"):
        sft(adapter, steps=4).train(job(tmp_path / name, adapter=adapter))
    assert files(tmp_path / "a" / "out") == files(tmp_path / "b" / "out")
    for content in files(tmp_path / "a" / "out").values():
        assert str(tmp_path).encode() not in content
        assert str(tiny_model()).encode() not in content


def pairs(count=16):
    def pair(i):
        prompt = [{"role": "user", "content": f"Say something, number {i}."}]
        return Pair(f"p{i}", "talk", prompt, "kite kite", "dog dog", {})

    made = [pair(i) for i in range(count)]
    return preference_rows(made, [Label(p.id, a, "first") for p in made for a in "xyz"])


@every
def test_dpo_learns_through_it(tmp_path, adapter):
    how = Dpo(epochs=3, learning_rate=RATES.get(adapter.name, 5e-3), batch_size=8, dtype="float32")
    points = []
    fields = {"rows": pairs(), "adapter": adapter, "report": points.append}
    outcome = how.train(job(tmp_path, **fields))
    assert outcome.metrics["accuracy"] == 1.0
    assert points[-1]["margin"] > points[0]["margin"]
    load_model(tmp_path / "out")


# Merging


@pytest.mark.parametrize("adapter", MERGED, ids=named)
def test_the_merged_model_is_the_one_that_was_trained(tmp_path, adapter):
    from peft import PeftModel

    outcome = sft(adapter).train(job(tmp_path, adapter=adapter))
    assert outcome.metrics["merge_agreement"] == 1.0
    merged = load_model(tmp_path / "out")
    apart = PeftModel.from_pretrained(load_model(tiny_model()), tmp_path / "out" / "adapter").eval()
    assert logits(merged, PROMPT_IDS).sub(logits(apart, PROMPT_IDS)).abs().max() < 1e-4
    assert (
        logits(merged, PROMPT_IDS).sub(logits(load_model(tiny_model()), PROMPT_IDS)).abs().max()
        > 0.1
    )
    assert read_marker(tmp_path / "out") is None


def test_dora_learns_lengths_apart_from_directions(tmp_path):
    start = wrapped(Dora(r=4)).get_base_model().model.layers[0].self_attn.q_proj
    model = walked(Dora(r=4), tmp_path)
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    length = layer.lora_magnitude_vector["default"].weight.detach()
    base, scale = layer.get_base_layer().weight, 32.0 / 4
    assert torch.allclose(
        start.lora_magnitude_vector["default"].weight, base.norm(dim=1), atol=1e-6
    )
    assert (length - base.norm(dim=1)).abs().max() > 1e-3
    turned = base + scale * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    by_hand = (length / turned.norm(dim=1))[:, None] * turned
    merged = Dora(r=4).merge(model).model.layers[0].self_attn.q_proj.weight
    assert torch.allclose(merged, by_hand, atol=1e-6)
    assert torch.allclose(merged.norm(dim=1), length, atol=1e-5)


def test_dora_is_another_model_than_lora(tmp_path):
    one, other = (walked(kind(r=4), tmp_path / kind.name) for kind in (Lora, Dora))
    assert logits(one, PROMPT_IDS).sub(logits(other, PROMPT_IDS)).abs().max() > 1e-3


def with_updates(adapter):
    """Return a wrapped model whose B, which starts at zero, holds small random numbers."""
    model = wrapped(adapter)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) / 50
    return model.eval()


def test_rslora_divides_by_the_root_of_the_rank():
    layer = wrapped(RsLora(r=9, alpha=6)).get_base_model().model.layers[0].mlp.up_proj
    assert layer.scaling["default"] == pytest.approx(6 / sqrt(9))
    root, plain, weak = (
        logits(with_updates(one), PROMPT_IDS)
        for one in (RsLora(r=16, alpha=4), Lora(r=16, alpha=16), Lora(r=16, alpha=4))
    )
    assert torch.allclose(root, plain, atol=1e-5)
    assert (root - weak).abs().max() > 1e-2


def test_ia3_multiplies(tmp_path):
    model = wrapped(Ia3()).eval()
    keys = model.get_base_model().model.layers[0].self_attn.k_proj
    down = model.get_base_model().model.layers[0].mlp.down_proj
    x, y = torch.randn(3, 32), torch.randn(3, 64)
    assert torch.equal(logits(model, PROMPT_IDS), logits(load_model(tiny_model()), PROMPT_IDS))
    factors = torch.linspace(-1, 2, 16)
    keys.ia3_l["default"].data, base = factors[:, None], keys.get_base_layer()
    assert torch.allclose(keys(x), base(x) * factors, atol=1e-6)
    down.ia3_l["default"].data.fill_(3.0)
    assert torch.allclose(down(y), down.get_base_layer()(3 * y), atol=1e-5)
    learnt = walked(Ia3(), tmp_path)
    layer = learnt.get_base_model().model.layers[0].self_attn.v_proj
    before, factor = layer.get_base_layer().weight.clone(), layer.ia3_l["default"].detach().clone()
    assert (factor - 1).abs().max() > 1e-2
    after = Ia3().merge(learnt).model.layers[0].self_attn.v_proj.weight
    assert torch.allclose(after, before * factor, atol=1e-7)


def test_ia3_says_what_it_cannot_rescale():
    loose = Ia3(target_modules=("k_proj",), feedforward_modules=("down_proj",))
    assert "add down_proj to target_modules" in loose.problems()[0]
    with pytest.raises(ModelError, match="does not fit"):
        wrapped(Ia3(target_modules=("nothing",)))
    with pytest.raises(ModelError, match="share"):
        wrapped(Ia3(target_modules=("k_proj", "lm_head")))


# Four bits


@four_bits
@pytest.mark.parametrize("double_quant", [True, False])
def test_qlora_holds_the_base_in_four_bits_and_merges_what_it_trained(tmp_path, double_quant):
    from bitsandbytes.nn import Linear4bit

    adapter = QLora(r=4, double_quant=double_quant)
    model = walked(adapter, tmp_path)
    small = [m for m in model.modules() if isinstance(m, Linear4bit)]
    assert len(small) == SHAPE.layers * len(LAYER)
    assert all(m.weight.dtype == torch.uint8 and m.weight.quant_type == "nf4" for m in small)
    assert sum(m.weight.numel() for m in small) * 2 == SHAPE.layers * sum(
        a * b for a, b in LAYER.values()
    )
    assert all(m.weight.quant_state.nested == double_quant for m in small)
    head = model.get_base_model().get_output_embeddings()
    assert head.weight.dtype == torch.float32
    unmerged = logits(model.eval(), PROMPT_IDS)
    with model.disable_adapter():
        rounded = logits(model, PROMPT_IDS)
    plain = adapter.merge(model)
    assert not [m for m in plain.modules() if isinstance(m, Linear4bit)]
    assert unmerged.sub(logits(plain, PROMPT_IDS)).abs().max() < 1e-4
    assert unmerged.sub(rounded).abs().max() > 1e-2
    full = logits(load_model(tiny_model()), PROMPT_IDS)
    assert 1e-4 < rounded.sub(full).abs().max() < 1.0  # rounded, and still the same model


@four_bits
def test_a_qlora_model_is_stored_as_an_ordinary_one(tmp_path):
    outcome = sft(QLora()).train(job(tmp_path, adapter=QLora(r=4)))
    assert outcome.metrics["merge_agreement"] == 1.0
    facts = inspect_model(tmp_path / "out")
    assert (facts.dtype, facts.problems, facts.adapter) == ("F32", (), None)
    assert facts.parameters == inspect_model(tiny_model()).parameters


def test_qlora_without_its_library_is_refused_before_anything_runs(home, monkeypatch):
    from tunesmith.preflight import built

    there = built._importable
    monkeypatch.setattr(built, "_importable", lambda name: name != "bitsandbytes" and there(name))
    text = planned(home, tune={"method": "sft", "adapter": "qlora"})
    assert "tune.adapter: qlora needs the module 'bitsandbytes'" in text
    assert "`pip install bitsandbytes`" in text


# Virtual tokens


@pytest.fixture(scope="module")
def besides(tmp_path_factory, taught):
    """Models taught to refuse with virtual tokens, by the adapter's name."""
    made = {}
    for adapter in BESIDE:
        folder = tmp_path_factory.mktemp(adapter.name)
        fields = {"rows": questions(80, answer=NO), "model_dir": taught, "adapter": adapter}
        outcome = sft(adapter).train(job(folder, **fields))
        assert outcome.metrics["reload_agreement"] == 1.0
        made[adapter.name] = folder / "out"
    return made


PROMPTS = [
    [{"role": "user", "content": f"Say {word} twice."}]
    for word in ("kite", "catcatcat", "friend", "dog", "kitekite", "friendfriendfriend")
]


def answers(model, conversations, sampler=None, **how):
    """Return what the reference engine says, through a folder."""
    tokenizer = load_tokenizer(model)
    ids = [encode_prompt(tokenizer, one) for one in conversations]
    how = Generation(
        sampler or Greedy(), 12, [7 + len(one) for one in ids], stop_ids(tokenizer, model), **how
    )
    with TransformersEngine().open(model) as engine:
        return [completion.ids for completion in engine.generate(ids, how)]


@beside
@pytest.mark.parametrize("sampler", [Greedy(), RandomSampler()], ids=named)
def test_it_answers_the_same_in_any_company_and_not_as_its_base(besides, taught, adapter, sampler):
    model = besides[adapter.name]
    together = answers(model, PROMPTS, sampler)
    assert together == [answers(model, [one], sampler)[0] for one in PROMPTS]
    assert together == answers(model, PROMPTS, sampler, batch_size=4)
    assert together != answers(taught, PROMPTS, sampler)
    assert answers(model / "base", PROMPTS, sampler) == answers(taught, PROMPTS, sampler)


@beside
def test_the_reference_engine_says_what_the_trained_model_says(besides, adapter):
    """Greedy decoding written out: the whole text through PEFT's forward pass, token by token."""
    from peft import PeftModel

    folder = besides[adapter.name]
    model = PeftModel.from_pretrained(load_model(folder / "base"), folder / "adapter").eval()
    tokenizer = load_tokenizer(folder)
    stops = stop_ids(tokenizer, folder)
    for conversation, said in zip(PROMPTS, answers(folder, PROMPTS), strict=True):
        ids, new = encode_prompt(tokenizer, conversation), []
        while len(new) < 12 and (not new or new[-1] not in stops):
            new.append(int(logits(model, ids + new)[-1].argmax()))
        assert new == said


@beside
def test_completions_are_scored_with_the_virtual_tokens(besides, taught, adapter):
    tokenizer = load_tokenizer(taught)
    ids = [encode_prompt(tokenizer, one) for one in PROMPTS]
    said = tokenizer(NO, add_special_tokens=False)["input_ids"]
    rows, starts = [one + said for one in ids], [len(one) for one in ids]
    ours, base = load_model(besides[adapter.name]), load_model(taught)
    scores = [[one.total for one in score_logprobs(m, rows, starts)] for m in (ours, base)]
    assert all(now > then for now, then in zip(*scores, strict=True))
    alone = [
        score_logprobs(ours, [row], [at])[0].total for row, at in zip(rows, starts, strict=True)
    ]
    assert alone == pytest.approx(scores[0], abs=1e-4)


@beside
def test_its_folder_holds_the_base_untouched_and_no_weights_at_the_top(besides, taught, adapter):
    folder = besides[adapter.name]
    assert weights(folder / "base") == weights(taught)
    assert not list(folder.glob("*.safetensors"))
    facts, base = inspect_model(folder), inspect_model(taught)
    assert (facts.adapter, facts.problems) == (adapter.name, ())
    learnt = 6 * (SHAPE.hidden_size if adapter is PROMPT else SHAPE.layers * 2 * 16)
    assert parameter_count(folder) == base.parameters + learnt
    assert facts.bytes > base.bytes
    assert context_length(folder) == SHAPE.context - 6
    assert len({weights_digest(one) for one in (folder, folder / "base", taught)}) == 2
    assert TransformersEngine().reads(folder) and not LlamaCpp().reads(folder)


@beside
def test_nobody_loads_its_base_by_mistake(besides, adapter):
    from transformers import AutoModelForCausalLM

    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(besides[adapter.name], local_files_only=True)


@beside
def test_it_is_neither_merged_nor_exported_nor_trained_further(tmp_path, besides, adapter):
    folder = besides[adapter.name]
    model = load_model(folder)
    with pytest.raises(ModelError, match=r"cannot be merged.*engine transformers"):
        adapter.merge(model)
    with pytest.raises(ModelError, match=r"gguf stores weights.*virtual tokens"):
        Gguf().quantize(folder, tmp_path / "gguf")
    assert not (tmp_path / "gguf").exists()
    with pytest.raises(ModelError, match="llamacpp runs GGUF"), LlamaCpp().open(folder):
        pass
    with pytest.raises(ModelError, match="save_trained"):
        save_model(model, load_tokenizer(folder), tmp_path / "copy")
    for more in (None, Lora(r=2)):
        with pytest.raises(ModelError, match="cannot be trained further"):
            sft(Lora()).train(job(tmp_path, model_dir=folder, adapter=more))
    with pytest.raises(ModelError, match="leave virtual tokens out"):
        ScalarHead(model, "mean")


@beside
def test_policy_optimisation_refuses_it(tmp_path, adapter):
    how = Grpo(steps=1, prompts_per_step=2, num_generations=2, max_completion_length=4)
    fields = {"adapter": adapter, "reward": lambda prompts, texts: [0.0] * len(texts)}
    with pytest.raises(ModelError, match=f"{adapter.name} cannot be merged"):
        how.train(job(tmp_path, rows=[{"prompt": PROMPTS[0]}], **fields))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def copied(besides, tmp_path):
    """Return a function that copies a folder, to damage it."""
    return lambda adapter: Path(shutil.copytree(besides[adapter.name], tmp_path / "copy"))


@beside
def test_an_adapter_of_another_base_is_refused(copied, adapter):
    folder = copied(adapter)
    shutil.rmtree(folder / "base")
    shutil.copytree(tiny_model(1), folder / "base")
    with pytest.raises(ModelError, match="learnt on another base"):
        load_model(folder)


@beside
def test_an_adapter_of_another_shape_is_refused(tmp_path, copied, adapter):
    from tunesmith.training.scratch import new_model

    folder = copied(adapter)
    wide = SHAPE.model_copy(update={"hidden_size": 64, "kv_heads": 2})
    tokenizer = load_tokenizer(folder)
    shutil.rmtree(folder / "base")
    save_model(new_model(wide, tokenizer, 0), tokenizer, folder / "base")
    marker = json.loads((folder / "adapter.json").read_text())
    marker["base_digest"] = weights_digest(folder / "base")
    (folder / "adapter.json").write_text(json.dumps(marker))
    with pytest.raises(ModelError, match="does not fit its base"):
        load_model(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "adapter/adapter_model.safetensors").unlink(), "lacks adapter_model"),
        (lambda f: (f / "adapter/adapter_config.json").write_text("{}"), "describes None tokens"),
        (lambda f: (f / "adapter.json").write_text("[]"), "damaged"),
        (lambda f: (f / "adapter.json").unlink(), "has no weights"),
        (lambda f: (f / "base/model.safetensors").unlink(), "has no weights"),
        (lambda f: shutil.copy(f / "base/model.safetensors", f), "two models at once"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_refused(copied, damage, words):
    folder = copied(PROMPT)
    damage(folder)
    with pytest.raises(ModelError, match=words):
        load_model(folder)


def test_the_context_is_shorter_by_the_virtual_tokens(tmp_path, besides):
    long = PromptTuning(num_virtual_tokens=120)
    outcome = sft(long, steps=1).train(
        job(tmp_path, adapter=long, rows=[*questions(9), {"prompt": "a", "completion": "b"}])
    )
    assert outcome.metrics["rows_too_long"] == 9
    with pytest.raises(ModelError, match="leave no room"):
        sft(long).train(job(tmp_path, adapter=PromptTuning(num_virtual_tokens=128)))
    with pytest.raises(ModelError, match="context holds 122"):
        answers(besides["prompt_tuning"], [[{"role": "user", "content": "kite " * 112}]])


def test_a_prompt_may_start_from_a_text():
    said = PromptTuning(
        num_virtual_tokens=5, prompt_tuning_init="text", prompt_tuning_init_text="Say kites."
    )
    model = wrapped(said)
    ids = load_tokenizer(tiny_model())("Say kites.", add_special_tokens=False)["input_ids"]
    rows = model.get_base_model().get_input_embeddings().weight
    wanted = rows[[ids[at % len(ids)] for at in range(5)]]
    assert torch.equal(model.prompt_encoder["default"].embedding.weight, wanted)
    drawn = wrapped(PROMPT).prompt_encoder["default"].embedding.weight
    assert all((rows == one).all(dim=1).any() for one in drawn)
    assert "belong together" in PromptTuning(prompt_tuning_init="text").problems()[0]
    with pytest.raises(ModelError, match="belong together"):
        wrapped(PromptTuning(prompt_tuning_init_text="Say"))


def test_a_prefix_needs_its_activations_kept(tmp_path):
    with pytest.raises(ModelError, match=r"prefix_tuning does not fit.*checkpointing"):
        sft(NARROW, recompute=True).train(job(tmp_path, adapter=NARROW))
    for name, recompute in (("a", False), ("b", True)):
        how = sft(PROMPT, steps=4, recompute=recompute)
        how.train(job(tmp_path / name, adapter=PROMPT))
    assert files(tmp_path / "a" / "out") == files(tmp_path / "b" / "out")


@every
def test_mixed_precision_and_rounded_weights(tmp_path, adapter):
    how = sft(adapter, steps=4, dtype="bfloat16", save_dtype="bfloat16")
    metrics = how.train(job(tmp_path, adapter=adapter)).metrics
    assert metrics["loss"] < 6.5  # ln 312 = 5.7 knows nothing
    assert metrics.get("reload_agreement", 1.0) == 1.0
    assert load_model(tmp_path / "out", "bfloat16").config.vocab_size


# Before anything starts


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an open store of its own."""
    from tunesmith import store

    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    return store.open()


def planned(opened, **sections) -> str:
    """Return what preflight has against a lifecycle."""
    from tunesmith import preflight
    from tunesmith.config import check_config

    nano = {"name": "nano", "train": 20, "prompts": 10, "test": 10, "validation": 4}
    whole = {"name": "demo", "model": str(tiny_model(context=1024)), "data": {"sources": [nano]}}
    found = preflight.plan(check_config({**whole, **sections}), opened)
    return "\n".join(map(str, found.problems))


@beside
def test_a_lifecycle_that_would_export_it_is_refused(home, adapter):
    tune = {"method": "sft", "adapter": adapter.name}
    assert planned(home, tune=tune) == ""
    text = planned(home, tune=tune, optimise={})
    assert f"tune.adapter: What {adapter.name} learns are virtual tokens" in text
    assert "optimise cannot export it" in text and "align" not in text
    talk = {
        "respond": {"tasks": ["creative_writing"], "prompts": 5},
        "collect": {"source": "simulated", "overlap": 3}, "reward": {},
    }  # fmt: skip
    text = planned(home, tune=tune, **talk, align={"method": "grpo", "adapter": adapter.name})
    assert "reward cannot learn from it, and align cannot train it further" in text
    assert "align.adapter: grpo samples from a merged copy" in text
    lora = {"method": "sft", "adapter": "lora"}
    dpo = {"method": "dpo", "adapter": adapter.name}
    assert planned(home, tune=lora, **talk, align=dpo) == ""
    assert "align.adapter: What" in planned(home, tune=lora, **talk, align=dpo, optimise={})
