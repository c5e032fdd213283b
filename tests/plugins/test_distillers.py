"""Distillers bring a student nearer to its teacher, each by its own way, and refuse what cannot."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_models import SHAPE, questions, sentences, tiny_model, weights

from tunesmith import DataError, ModelError, TrainingJob
from tunesmith.chat import encode_prompt, render_rows
from tunesmith.errors import Stopped
from tunesmith.generation.reference import decoder, generate
from tunesmith.models import load_model, load_tokenizer, resolve_model, save_model
from tunesmith.plugins import build
from tunesmith.records import Generation
from tunesmith.techniques import Sampler
from tunesmith.training import answering, own_samples
from tunesmith.training.scratch import new_model, train_tokenizer
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.adapters.prompt_tuning import PromptTuning
from tunesmith_plugins.distillers.logit import Logit
from tunesmith_plugins.distillers.on_policy import OnPolicy
from tunesmith_plugins.distillers.sequence import ANSWERS, Sequence
from tunesmith_plugins.methods.sft import Sft

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).parents[3] / "shared"))
BABYLLAMA = SHARED / "models" / "babyllama105"
needs_babyllama = pytest.mark.skipif(not BABYLLAMA.is_dir(), reason=f"no model at {BABYLLAMA}")

HELD = questions(16, seed=9)
RATES = {"dtype": "float32", "learning_rate": 3e-3, "muon_learning_rate": 0.01}
ROWS = {**RATES, "steps": 25, "batch_tokens": 512, "student": SHAPE}
LOGIT = Logit(**ROWS)
SEQUENCE = Sequence(**ROWS, max_new_tokens=24)
OWN = OnPolicy(**RATES, steps=25, batch_size=8, max_new_tokens=24, lmbda=1.0)


def job(folder, **fields):
    fields = {"rows": questions(64), "eval_rows": HELD, "seed": 5, **fields}
    return TrainingJob(out=folder / "out", work=folder / "work", **fields)


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A model that has learnt to answer."""
    folder = tmp_path_factory.mktemp("teacher")
    how = Sft(steps=120, batch_tokens=512, learning_rate=5e-3, dtype="float32")
    how.train(job(folder, model_dir=tiny_model(), eval_rows=()))
    return folder / "out"


def begun(teacher, folder, steps):
    shape = SHAPE.model_copy(update={"hidden_size": 64, "intermediate_size": 128})
    how = SEQUENCE.model_copy(update={"student": shape, "steps": steps})
    how.distil(teacher, job(folder, eval_rows=()))
    return folder / "out"


@pytest.fixture(scope="module")
def beginner(teacher, tmp_path_factory):
    """A student, twice as wide as its teacher, that has seen a few of the teacher's answers."""
    return begun(teacher, tmp_path_factory.mktemp("beginner"), 12)


@pytest.fixture(scope="module")
def fluent(teacher, tmp_path_factory):
    """The same student after many more of them: it has learnt all it can from text alone."""
    return begun(teacher, tmp_path_factory.mktemp("fluent"), 80)


def gap(teacher, student, rows):
    """KL(teacher || student) per token of ids with their masks, from whole logits, row by row."""
    models, total, count = [load_model(one) for one in (teacher, student)], 0.0, 0
    for row in rows:
        with torch.no_grad():
            p, q = (
                one(input_ids=torch.tensor([row.ids])).logits[0, :-1].log_softmax(-1)
                for one in models
            )
        learnt = torch.tensor(row.mask[1:])
        total += float((p.exp() * (p - q)).sum(-1)[learnt].sum())
        count += int(learnt.sum())
    return total / count


def held_gap(teacher, student):
    return gap(teacher, student, render_rows(load_tokenizer(teacher), HELD))


def own_gap(teacher, student, seed=77):
    """The same on what the student says itself when it is sampled from."""
    tokenizer = load_tokenizer(student)
    prompts = [encode_prompt(tokenizer, row["prompt"]) for row in HELD] * 2
    seeds = [seed + at for at in range(len(prompts))]
    how = Generation(build(Sampler, "random"), 24, seeds, (tokenizer.eos_token_id,))
    said = generate(load_model(student), prompts, how, decoder(tokenizer))
    rows = [own_samples.answered(*pair) for pair in zip(prompts, said, strict=True)]
    return gap(teacher, student, rows)


# Nearer to the teacher


def changed(how, **options):
    return type(how)(**{**how.model_dump(), **options})


WAYS = {
    "forward": LOGIT,
    "reverse": changed(LOGIT, divergence="reverse_kl"),
    "jsd": changed(LOGIT, divergence="jsd", beta=0.3, temperature=1.0),
    "top-k": changed(LOGIT, top_k=8),
    "soft-only": changed(LOGIT, soft=1.0),
    "greedy": SEQUENCE,
    "beam": changed(SEQUENCE, sampler={"name": "beam", "num_beams": 3}),
    "sampled": changed(SEQUENCE, sampler="random", answers=3),
    "on-policy": changed(OWN, beta=0.0),
    "jsd-mixed": changed(OWN, lmbda=0.5),
    "seq-kd": changed(OWN, lmbda=0.3, seq_kd=True, beta=1.0),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_brings_the_student_nearer_to_its_teacher(tmp_path, teacher, beginner, way):
    outcome = WAYS[way].distil(teacher, job(tmp_path, model_dir=beginner))
    before, after = held_gap(teacher, beginner), held_gap(teacher, tmp_path / "out")
    assert after < 0.9 * before
    found = outcome.metrics
    assert found["teacher_kl_after"] < found["teacher_kl_before"]
    if not isinstance(WAYS[way], Sequence):  # which measures on the teacher's answers instead
        measured = (found["teacher_kl_before"], found["teacher_kl_after"])
        assert measured == pytest.approx((before, after), rel=1e-3)


def test_on_policy_mends_what_the_student_says_and_more_of_the_teachers_text_does_not(
    tmp_path, teacher, fluent
):
    """As many steps on the teacher's answers leave the student's own samples where they were."""
    outcome = OWN.distil(teacher, job(tmp_path / "own", model_dir=fluent))
    SEQUENCE.distil(teacher, job(tmp_path / "text", model_dir=fluent))
    before = own_gap(teacher, fluent)
    own, text = (own_gap(teacher, tmp_path / name / "out") for name in ("own", "text"))
    assert own < 0.6 * before and own < 0.6 * text
    assert outcome.metrics["own_teacher_kl_after"] < 0.6 * outcome.metrics["own_teacher_kl_before"]


def test_a_new_student_takes_over_the_tokenizer_and_context(tmp_path, teacher):
    for how in (LOGIT, SEQUENCE):
        found = how.distil(teacher, job(tmp_path / how.name)).metrics
        assert found["teacher_kl_after"] < found["teacher_kl_before"]
        out = tmp_path / how.name / "out"
        assert load_tokenizer(out).get_vocab() == load_tokenizer(teacher).get_vocab()
        assert load_model(out).config.max_position_embeddings == SHAPE.context
    with pytest.raises(ModelError, match="needs a student that answers already"):
        OWN.distil(teacher, job(tmp_path / "none"))


# What each learns from


def test_sequence_learns_the_teachers_words_and_not_those_of_the_rows(tmp_path, teacher, beginner):
    wrong = questions(12, answer="No, thank you.")
    how = changed(SEQUENCE, steps=2)
    outcome = how.distil(teacher, job(tmp_path, rows=wrong, model_dir=beginner))
    learnt = [json.loads(line) for line in (tmp_path / "out" / ANSWERS).read_text().splitlines()]
    tokenizer = load_tokenizer(teacher)
    prompts = [encode_prompt(tokenizer, row["prompt"]) for row in wrong]
    greedy = Generation(build(Sampler, "greedy"), 24, [0] * 12, (tokenizer.eos_token_id,))
    said = generate(load_model(teacher), prompts, greedy, decoder(tokenizer))
    assert [row["completion"] for row in learnt] == [s.text for s in said if s.finish == "stop"]
    cut = sum(one.finish == "length" for one in said)
    assert (outcome.metrics["rows"], outcome.metrics["answers_truncated"]) == (12 - cut, cut)


def test_answers_that_never_end_are_refused_or_learnt_without_an_end(tmp_path, teacher, beginner):
    short = changed(SEQUENCE, max_new_tokens=1, steps=2)
    with pytest.raises(
        DataError, match=r"All 64 answers of the teacher reach max_new_tokens \(1\)"
    ):
        short.distil(teacher, job(tmp_path / "a", model_dir=beginner))
    kept = changed(short, truncated="keep")
    outcome = kept.distil(teacher, job(tmp_path / "b", model_dir=beginner))
    assert outcome.metrics["answers_truncated"] == outcome.metrics["rows"] == 64
    tokenizer = load_tokenizer(teacher)
    row = {"prompt": HELD[0]["prompt"], "completion": "kite", "finish": "length"}
    data, _ = answering.encode_answers(
        tokenizer, answering.Answered([row], 0, 1), 128, learn_all=False
    )
    assert data.rows.ids[-1] != tokenizer.eos_token_id


def test_one_answer_asked_for_twice_is_refused_before_anything_starts():
    assert "gives the same answer 3 times" in changed(SEQUENCE, answers=3).problems()[0]
    assert changed(SEQUENCE, answers=3, sampler="random").problems() == []


def test_lmbda_is_the_share_of_steps_on_the_students_own_answers(
    tmp_path, teacher, beginner, monkeypatch
):
    speakers = []

    def listening(model, *rest):
        speakers.append(sum(p.numel() for p in model.parameters()))
        return generate(model, *rest)

    monkeypatch.setattr(own_samples, "generate", listening)
    sizes = [sum(p.numel() for p in load_model(m).parameters()) for m in (beginner, teacher)]
    for lmbda, seq_kd, expected in (
        (1.0, False, [sizes[0]] * 6),
        (0.0, False, []),
        (0.0, True, [sizes[1]] * 6),
    ):
        speakers.clear()
        points = []
        how = changed(OWN, steps=6, lmbda=lmbda, seq_kd=seq_kd)
        where = job(
            tmp_path / f"{lmbda}{seq_kd}", model_dir=beginner, eval_rows=(), report=points.append
        )
        assert how.distil(teacher, where).metrics["student_made"] == lmbda
        assert speakers == expected
        assert {point["student_made"] for point in points} == {lmbda}
        assert all(point["completion_length"] > 0 for point in points)
    how = changed(OWN, steps=40, batch_size=1, max_new_tokens=1, lmbda=0.25)
    outcome = how.distil(teacher, job(tmp_path / "mixed", model_dir=beginner, eval_rows=()))
    assert 0.1 < outcome.metrics["student_made"] < 0.45


def test_without_own_samples_on_policy_is_the_divergence_on_the_rows(tmp_path, teacher, beginner):
    rows = questions(8)
    how = changed(OWN, steps=1, lmbda=0.0, beta=0.0, batch_size=8)
    outcome = how.distil(teacher, job(tmp_path, rows=rows, model_dir=beginner))
    expected = gap(teacher, beginner, render_rows(load_tokenizer(teacher), rows))
    assert outcome.metrics["loss"] == pytest.approx(expected, rel=1e-4)


def test_prompts_alone_are_enough_where_no_answer_is_given(tmp_path, teacher, beginner):
    bare = [{"prompt": row["prompt"]} for row in questions(16)]
    fields = {"rows": bare, "eval_rows": bare[:4], "model_dir": beginner}
    found = changed(OWN, steps=2).distil(teacher, job(tmp_path / "a", **fields)).metrics
    assert "own_teacher_kl_after" in found and "teacher_kl_after" not in found
    with pytest.raises(DataError, match="it needs prompt and completion"):
        changed(OWN, lmbda=0.5).distil(teacher, job(tmp_path / "b", **fields))
    changed(SEQUENCE, steps=2).distil(teacher, job(tmp_path / "c", **fields))


def test_prompts_too_long_to_be_answered_are_counted(tmp_path, teacher, beginner):
    long = {"prompt": [{"role": "user", "content": "kite " * 200}], "completion": "no"}
    for how in (changed(OWN, steps=1), changed(SEQUENCE, steps=1)):
        where = job(tmp_path / how.name, rows=[*questions(8), long], model_dir=beginner)
        assert how.distil(teacher, where).metrics["prompts_too_long"] == 1
        with pytest.raises(DataError, match="leaves room for 24 tokens"):
            how.distil(teacher, replace(where, rows=[long], work=tmp_path / "other"))


def test_an_adapter_learns_alone_and_one_that_cannot_speak_is_refused(tmp_path, teacher, beginner):
    for how in (LOGIT, SEQUENCE, OWN):
        where = job(tmp_path / how.name, model_dir=beginner, adapter=Lora(r=4))
        found = changed(how, steps=6).distil(teacher, where).metrics
        assert found["merge_agreement"] == 1.0
        assert found["teacher_kl_after"] != found["teacher_kl_before"]
        assert (where.out / "adapter" / "adapter_model.safetensors").is_file()
    with pytest.raises(ModelError, match="samples from a merged copy"):
        where = job(tmp_path / "x", model_dir=beginner, adapter=PromptTuning())
        OWN.distil(teacher, where)


# The same bytes, whatever happens on the way


@pytest.mark.parametrize("how", [LOGIT, SEQUENCE, OWN], ids=lambda how: how.name)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stopped_distiller_goes_on_to_the_same_bytes(tmp_path, teacher, beginner, how, dtype):
    how = changed(how, steps=6, dtype=dtype)
    fields = {"model_dir": beginner, "adapter": Lora(r=2, dropout=0.1)}
    expected = how.distil(teacher, job(tmp_path / "whole", **fields))
    for stop in (3, 2):
        answers = iter([False] * stop + [True])
        with pytest.raises(Stopped):
            how.distil(teacher, job(tmp_path, **fields, should_stop=lambda a=answers: next(a)))
    resumed = how.distil(teacher, job(tmp_path, **fields))
    assert resumed.metrics == expected.metrics
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")


def test_a_teacher_stopped_between_portions_is_not_asked_again(
    tmp_path, teacher, beginner, monkeypatch
):
    monkeypatch.setattr(answering, "PORTION", 16)
    how = changed(SEQUENCE, steps=2, sampler="random")
    how.distil(teacher, job(tmp_path / "whole", model_dir=beginner))
    answers = iter([False, False, True])
    with pytest.raises(Stopped, match="after 32 of 64 answers"):
        stopped = job(tmp_path, model_dir=beginner, should_stop=lambda: next(answers))
        how.distil(teacher, stopped)
    path = next((tmp_path / "work").glob("answers-*.jsonl"))
    with path.open("a") as file:  # a kill in the middle of a write
        file.write('[{"text": "ki')
    asked = []

    def counted(model, prompts, *rest):
        asked.append(len(prompts))
        return generate(model, prompts, *rest)

    monkeypatch.setattr(answering, "generate", counted)
    how.distil(teacher, job(tmp_path, model_dir=beginner))
    assert asked == [16, 16, 16], "half of the rows, and those held out"
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")


def test_other_options_do_not_go_on_from_a_checkpoint(tmp_path, teacher, beginner):
    for how, other in (
        (LOGIT, {"divergence": "reverse_kl"}), (OWN, {"beta": 1.0}),
    ):  # fmt: skip
        how = changed(how, steps=2)
        how.distil(teacher, job(tmp_path / how.name, model_dir=beginner))
        with pytest.raises(ModelError, match="belongs to a run with other rows, options"):
            changed(how, **other).distil(teacher, job(tmp_path / how.name, model_dir=beginner))


# Tokenizers


@pytest.mark.parametrize("how", [LOGIT, OWN], ids=lambda how: how.name)
def test_students_with_another_tokenizer_are_refused(tmp_path, teacher, how):
    other = shutil.copytree(tiny_model(), tmp_path / "other")
    path = other / "tokenizer.json"
    data = json.loads(path.read_text())
    vocab = data["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"token \d+ is 'a' to the teacher.*`sequence`"):
        how.distil(teacher, job(tmp_path, model_dir=other))


@pytest.fixture(scope="module")
def foreigner(tmp_path_factory):
    """A random student with a tokenizer of its own, learnt from other texts."""
    folder = tmp_path_factory.mktemp("foreigner")
    tokenizer = train_tokenizer([*sentences(50), "Once upon a time there was"], 330, 256)
    shape = SHAPE.model_copy(update={"context": 256, "hidden_size": 64})
    save_model(new_model(shape, tokenizer, 3), tokenizer, folder)
    return folder


def taught_by_nano(folder, student, **options):
    """Teach eight answers of the nano until the student knows them; return agreement and metrics.

    Greedy answers of both are compared as text, before and after.
    """
    nano = resolve_model("builtin:nano")
    rows = [{"prompt": f"Mia has {n} kites."} for n in range(2, 10)]
    how = Sequence(**RATES, steps=150, batch_tokens=256, max_new_tokens=12, truncated="keep")
    outcome = changed(how, **options).distil(
        nano, job(folder, rows=rows, eval_rows=rows[:2], model_dir=student)
    )
    taught = [json.loads(x)["completion"] for x in (folder / "out" / ANSWERS).open()]
    return [agreement(one, rows, taught) for one in (student, folder / "out")], outcome.metrics


def agreement(student, rows, taught):
    """Return the share of answers that begin as the teacher's do, spaces aside."""
    tokenizer, model = load_tokenizer(student), load_model(student)
    prompts = [encode_prompt(tokenizer, row["prompt"]) for row in rows]
    how = Generation(build(Sampler, "greedy"), 60, [0] * len(rows), (tokenizer.eos_token_id,))
    said = generate(model, prompts, how, decoder(tokenizer))
    squeezed = [
        ("".join(s.text.split()), "".join(t.split())) for s, t in zip(said, taught, strict=True)
    ]
    return float(np.mean([ours[: len(theirs)] == theirs for ours, theirs in squeezed]))


def test_sequence_works_across_tokenizers(tmp_path, foreigner):
    (before, after), found = taught_by_nano(tmp_path, foreigner)
    assert before == 0.0 and after >= 0.75
    assert found["eval_loss"] < 0.2 * found["eval_loss_before"]
    assert "teacher_kl_after" not in found, "there is no divergence between other tokens"
    ours, theirs = load_tokenizer(tmp_path / "out"), load_tokenizer(foreigner)
    assert ours.get_vocab() == theirs.get_vocab()


# A stranger: no chat template, no newline in its vocabulary, 256 tokens of context


@needs_babyllama
def test_the_nano_teaches_babyllama_by_text(tmp_path):
    (before, after), found = taught_by_nano(tmp_path, BABYLLAMA)
    assert before == 0.0 and after >= 0.75
    assert (found["rows"], found["answers_unspelt"]) == (8, 0)
    assert found["eval_loss"] < 0.2 * found["eval_loss_before"]


@needs_babyllama
def test_answers_a_student_cannot_spell_are_counted_and_alone_refused():
    tokenizer = load_tokenizer(BABYLLAMA)
    rows = [
        {"prompt": "Once upon", "completion": text, "finish": "stop"}
        for text in ("a time", "a \u4f60\u597d time", "two\nlines")
    ]
    data, unspelt = answering.encode_answers(
        tokenizer, answering.Answered(rows, 0, 0), 256, learn_all=False
    )
    assert (len(data.rows), unspelt) == (1, 2)
    talk = [{"role": "user", "content": "Once upon"}]
    rows.append({"prompt": talk, "completion": "two\nlines", "finish": "stop"})
    data, unspelt = answering.encode_answers(
        tokenizer, answering.Answered(rows, 0, 0), 256, learn_all=False
    )
    assert (len(data.rows), unspelt) == (2, 2), "its template writes a space for the newline"
    with pytest.raises(
        DataError, match="its tokenizer cannot spell, such as 'a \u4f60\u597d time'"
    ):
        answering.encode_answers(
            tokenizer, answering.Answered(rows[1:2], 0, 0), 256, learn_all=False
        )


@needs_babyllama
@pytest.mark.parametrize("how", [LOGIT, OWN], ids=lambda how: how.name)
def test_babyllama_teaches_a_smaller_one(tmp_path, how):
    rows = [
        {"prompt": [{"role": "user", "content": f"Tell of {n} cats."}], "completion": f"{n} cats."}
        for n in range(2, 30)
    ]
    fields = {"rows": rows, "eval_rows": rows[:6]}
    new = changed(LOGIT, steps=15).distil(BABYLLAMA, job(tmp_path / "new", **fields))
    where = job(tmp_path, **fields, model_dir=tmp_path / "new" / "out")
    found = changed(how, steps=15).distil(BABYLLAMA, where).metrics
    assert new.metrics["teacher_kl_after"] < new.metrics["teacher_kl_before"]
    key = "own_teacher_kl" if how is OWN else "teacher_kl"
    assert found[f"{key}_after"] < found[f"{key}_before"]
    assert weights(tmp_path / "out") != weights(tmp_path / "new" / "out")
