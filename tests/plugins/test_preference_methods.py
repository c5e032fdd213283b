"""Methods that learn straight from labelled answers, paired or not, with a reference or without."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_models import tiny_model, weights

from tunesmith import DataError, Label, ModelError, Pair, TrainingJob, TrainingMethod, plugins
from tunesmith.errors import ConfigError, Stopped, StoreError
from tunesmith.models import load_model, load_tokenizer
from tunesmith.preferences import preference_rows, unpaired
from tunesmith.rows import require
from tunesmith.training import checkpoint, direct, pair_training
from tunesmith.training.direct import answer_logprobs
from tunesmith.training.dpo_losses import dpo_loss
from tunesmith.training.losses import Forward
from tunesmith.training.preference import pair_rows
from tunesmith.training.preference_losses import Answers
from tunesmith.training.unpaired import Mismatched, rotation, unpaired_rows
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.methods.cpo import Cpo
from tunesmith_plugins.methods.dpo import Dpo
from tunesmith_plugins.methods.kto import Kto, KtoLoss, kto_loss, share_above
from tunesmith_plugins.methods.orpo import Orpo, log_odds
from tunesmith_plugins.methods.simpo import Simpo

ROOT = Path(__file__).parents[2]
HOW = {"epochs": 3, "learning_rate": 3e-3, "batch_size": 8, "dtype": "float32"}
WORDS = ("cat", "friend", "cake", "hello", "my", "the", "lost", "saw")


def pairs(words=WORDS, first=0):
    """Answers with a kite in them are liked, whatever else they say."""
    made = []
    for n, word in enumerate(words * 2, first):
        prompt = [{"role": "user", "content": f"Say something, number {n}."}]
        made.append(Pair(f"p{n}", "talk", prompt, f"{word} kite {word}", f"{word} dog {word}", {}))
    return made


def preferences(words=WORDS, first=0, verdicts=("first", "first", "first")):
    made = pairs(words, first)
    labels = [Label(p.id, who, v) for p in made for who, v in zip("xyz", verdicts, strict=False)]
    return preference_rows(made, labels)


HELD_OUT = {"words": ("found", "painted", "minus", "a"), "first": 90}
"""Prompts and words that no training row has."""


def run(folder, how, rows=None, **fields):
    rows = rows or preferences()
    rows = unpaired(rows) if isinstance(how, Kto) and "chosen" in rows[0] else rows
    fields = {"rows": rows, "seed": 3, "model_dir": tiny_model(), **fields}
    return how.train(TrainingJob(out=folder / "out", work=folder / "work", **fields))


def lead(folder, rows):
    """Return log-probability per token of chosen less that of rejected, one number per pair."""
    made = pair_rows(load_tokenizer(tiny_model()), rows)
    per_token = answer_logprobs(Forward(load_model(folder)), made.tokens) / made.tokens.targets
    return per_token[::2] - per_token[1::2]


# Their effect, on pairs they have not seen

METHODS = {
    "sigmoid": Dpo(**HOW),
    "cdpo": Dpo(label_smoothing=0.1, **HOW),
    "sigmoid_norm": Dpo(loss_type="sigmoid_norm", beta=1.0, **HOW),
    "hinge": Dpo(loss_type="hinge", **HOW),
    "ipo": Dpo(loss_type="ipo", **HOW),
    "robust": Dpo(loss_type="robust", label_smoothing=0.1, **HOW),
    "exo_pair": Dpo(loss_type="exo_pair", label_smoothing=1e-3, **HOW),
    "apo_zero": Dpo(loss_type="apo_zero", **HOW),
    "apo_down": Dpo(loss_type="apo_down", **HOW),
    "orpo": Orpo(beta=1.0, **HOW),
    "cpo": Cpo(**HOW),
    "cpo_hinge": Cpo(loss_type="hinge", **HOW),
    "simpo": Simpo(**HOW),
    "kto": Kto(**{**HOW, "batch_size": 16}),
    "kto_apo_zero": Kto(loss_type="apo_zero_unpaired", **{**HOW, "batch_size": 16}),
}


@pytest.mark.parametrize("name", METHODS)
def test_held_out_preferences_are_learnt(tmp_path, name):
    held, points = preferences(**HELD_OUT), []
    eval_rows = unpaired(held) if "kto" in name else held
    found = run(tmp_path, METHODS[name], eval_rows=eval_rows, report=points.append).metrics
    before, after = lead(tiny_model(), held), lead(tmp_path / "out", held)
    assert (before > 0).mean() < 0.5 and (after > 0).all()
    assert after.mean() > before.mean() + 0.05
    assert found["eval_accuracy"] == found["accuracy"] == 1.0
    assert found["eval_margin"] > 0
    if "kto" not in name:
        assert points[-1]["margin"] > points[0]["margin"]
        assert points[-1]["accuracy"] > points[0]["accuracy"]


@pytest.mark.parametrize("name", ["orpo", "simpo", "kto"])
def test_they_learn_through_an_adapter(tmp_path, name):
    how = METHODS[name].model_copy(update={"learning_rate": 2e-2})
    run(tmp_path, how, adapter=Lora(r=8))
    held = preferences(**HELD_OUT)
    assert lead(tmp_path / "out", held).mean() > lead(tiny_model(), held).mean() + 0.05
    assert (tmp_path / "out" / "adapter").is_dir()


def test_liked_answers_rise_and_disliked_ones_fall(tmp_path):
    points = []
    how = METHODS["kto"].model_copy(update={"epochs": 6})
    found = run(tmp_path, how, report=points.append).metrics
    assert found["desirable"] == found["undesirable"] == 16
    assert found["reward_desirable"] > 0 > found["reward_undesirable"]
    assert points[-1]["reward_desirable"] > points[0]["reward_desirable"]
    assert points[-1]["reward_undesirable"] < points[0]["reward_undesirable"]


def test_kto_learns_from_likes_or_dislikes_alone(tmp_path):
    rows = unpaired(preferences())
    liked = run(tmp_path / "a", METHODS["kto"], [r for r in rows if r["label"]]).metrics
    hated = run(tmp_path / "b", METHODS["kto"], [r for r in rows if not r["label"]]).metrics
    assert liked["reward_desirable"] > 0 and "reward_undesirable" not in liked
    assert hated["reward_undesirable"] < 0 and "accuracy" not in hated


def test_orpo_and_cpo_keep_preferred_answers_likely_where_dpo_need_not(tmp_path):
    rows = preferences()
    made = pair_rows(load_tokenizer(tiny_model()), rows)

    def chosen(folder):
        return answer_logprobs(Forward(load_model(folder)), made.tokens)[::2].mean()

    for name in ("orpo", "cpo"):
        run(tmp_path / name, METHODS[name], rows)
        assert chosen(tmp_path / name / "out") > chosen(tiny_model())
    run(tmp_path / "down", METHODS["apo_down"], rows)
    assert chosen(tmp_path / "down" / "out") < chosen(tiny_model())


# Without a reference


@pytest.mark.parametrize(("name", "asks"), [("sigmoid", 1), ("orpo", 0), ("simpo", 0), ("cpo", 0)])
def test_reference_free_methods_ask_no_untrained_model(tmp_path, monkeypatch, name, asks):
    loaded, asked = [], []

    def load(*args):
        loaded.append(args)
        return load_model(*args)

    def ask(*args):
        asked.append(args)
        return answer_logprobs(*args)

    monkeypatch.setattr(direct, "load_model", load)
    monkeypatch.setattr(pair_training, "answer_logprobs", ask)
    seen = []
    run(tmp_path, METHODS[name], report=lambda point: seen.append(len(asked)))
    assert len(loaded) == 1, "the policy itself"
    assert seen[0] == asks and len(asked) == asks + 1, "once more, to measure the outcome"


# Their arithmetic: golden numbers from the published formulas, in plain floats

LOGPROBS = [(-12.0, -13.5, 4), (-9.0, -8.0, 3), (-20.0, -20.5, 8), (-3.0, -7.0, 2)]
"""Log-probability, the reference's and tokens of four answers: two pairs either way round."""
BETTER, WORSE = LOGPROBS[:2], LOGPROBS[2:]


def answers(rows):
    return Answers(*(torch.tensor(column) for column in zip(*rows, strict=True)))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def dpo_by_hand(loss, beta, eps, better, worse):
    (lw, rw, nw), (ll, rl, nl) = better, worse
    gap, w, l = (lw - rw) - (ll - rl), lw - rw, ll - rl  # noqa: E741
    a = sigmoid(beta * gap)
    match loss:
        case "sigmoid":
            return -(1 - eps) * math.log(a) - eps * math.log(1 - a)
        case "sigmoid_norm":
            return -math.log(sigmoid(beta * (w / nw - l / nl)))
        case "hinge":
            return max(0.0, 1 - beta * gap)
        case "ipo":
            return (w / nw - l / nl - 1 / (2 * beta)) ** 2
        case "robust":
            return (-(1 - eps) * math.log(a) + eps * math.log(1 - a)) / (1 - 2 * eps)
        case "exo_pair":
            return a * math.log(a / (1 - eps)) + (1 - a) * math.log((1 - a) / eps)
        case "apo_zero":
            return 1 - sigmoid(beta * w) + sigmoid(beta * l)
        case "apo_down":
            return sigmoid(beta * w) + 1 - a


@pytest.mark.parametrize(
    ("loss", "eps"),
    [
        ("sigmoid", 0.0), ("sigmoid", 0.1), ("sigmoid_norm", 0.0), ("hinge", 0.0), ("ipo", 0.0),
        ("robust", 0.2), ("exo_pair", 1e-3), ("apo_zero", 0.0), ("apo_down", 0.0),
    ],
)  # fmt: skip
def test_every_dpo_loss_is_the_published_one(loss, eps):
    for better, worse in ((BETTER, WORSE), (WORSE, BETTER)):
        found = dpo_loss(answers(better), answers(worse), loss=loss, beta=0.3, smoothing=eps)
        expected = [dpo_by_hand(loss, 0.3, eps, *p) for p in zip(better, worse, strict=True)]
        assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_robust_loss_is_unbiased_under_flipped_labels():
    better, worse, clean = answers(BETTER), answers(WORSE), {"beta": 0.3}
    noisy = {**clean, "loss": "robust", "smoothing": 0.3}
    mean = 0.7 * dpo_loss(better, worse, **noisy) + 0.3 * dpo_loss(worse, better, **noisy)
    assert mean.tolist() == pytest.approx(dpo_loss(better, worse, **clean).tolist(), rel=1e-4)


def test_orpo_cpo_and_simpo_are_the_published_ones():
    for better, worse in ((BETTER, WORSE), (WORSE, BETTER)):
        orpo, cpo, simpo = [], [], []
        for (lw, _, nw), (ll, _, nl) in zip(better, worse, strict=True):
            w, l = lw / nw, ll / nl  # noqa: E741
            odds = [math.exp(x) / (1 - math.exp(x)) for x in (w, l)]
            orpo.append(-w - 0.4 * math.log(sigmoid(math.log(odds[0] / odds[1]))))
            cpo.append(-math.log(sigmoid(0.3 * (lw - ll))) - 0.5 * w)
            simpo.append(-math.log(sigmoid(2.0 * w - 2.0 * l - 1.5)))
        both = answers(better), answers(worse)
        assert Orpo(beta=0.4).losses(*both).tolist() == pytest.approx(orpo, rel=1e-4)
        alone = (answers([(lp, 0.0, n) for lp, _, n in rows]) for rows in (better, worse))
        assert Cpo(beta=0.3, cpo_alpha=0.5).losses(*alone).tolist() == pytest.approx(cpo, rel=1e-4)
        found = Simpo(beta=2.0, simpo_gamma=1.5).losses(*both)
        assert found.tolist() == pytest.approx(simpo, rel=1e-4)


def test_log_odds_are_precise_and_finite_at_both_ends():
    values = [-50.0, -3.0, -0.7, -0.69, -0.6, -1e-3]
    found = log_odds(torch.tensor(values)).tolist()
    assert found == pytest.approx([x - math.log(-math.expm1(x)) for x in values], rel=1e-5)
    certain = torch.zeros(1, requires_grad=True)
    log_odds(certain).sum().backward()
    assert certain.grad.isfinite().all()


def test_the_kto_loss_is_the_published_one():
    moved, liked = [0.5, -2.0, 1.5, 0.0], [True, False, False, True]
    how = Kto(beta=0.3, desirable_weight=1.2, undesirable_weight=0.7)
    for z in (0.0, 0.8):
        expected = [
            1.2 * (1 - sigmoid(0.3 * (r - z))) if good else 0.7 * (1 - sigmoid(0.3 * (z - r)))
            for r, good in zip(moved, liked, strict=True)
        ]
        found = kto_loss(torch.tensor(moved), torch.tensor(liked), torch.tensor(z), how)
        assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_share_above_counts_every_combination():
    liked, disliked = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    assert share_above(liked, disliked) == pytest.approx((1 + 1.5 + 2) / 6)


def test_exo_without_smoothing_is_refused():
    with pytest.raises(ConfigError, match=r"exo_pair needs label_smoothing above 0.*1e-3"):
        plugins.build(TrainingMethod, {"name": "dpo", "loss_type": "exo_pair"})


# How far the policy has moved at all (KTO)


def test_the_baseline_is_what_answers_to_other_prompts_gained():
    tokenizer = load_tokenizer(tiny_model())
    rows = unpaired_rows(tokenizer, unpaired(preferences())[:4])
    step = [np.array([0, 1]), np.array([2, 3])]
    others = Mismatched(rows, [step], 128)
    start, policy = (load_model(tiny_model(seed)) for seed in (1, 0))
    before = answer_logprobs(Forward(start), others.tokens)
    objective = KtoLoss(Kto(), policy, rows, np.zeros(4, np.float32), others, before)
    objective.begin(step)
    # Rows 0 and 1 share a prompt, 2 and 3 too: only rotating by 2 parts every answer from its own.
    expected, drawn = [], {(0, 2), (1, 3), (2, 0), (3, 1)}
    assert set(others.place) == drawn
    for asked, answered in drawn:
        ids = torch.tensor([[*rows.prompt(asked), *rows.answer(answered)]])
        tail = len(rows.answer(answered))
        with torch.no_grad():
            gained = [
                model(input_ids=ids).logits.log_softmax(-1)[0, -tail - 1 : -1]
                .gather(1, ids[0, -tail:, None]).sum()
                for model in (policy, start)
            ]  # fmt: skip
        expected.append(float(gained[0] - gained[1]))
    assert objective.baseline > 0
    assert objective.baseline == pytest.approx(np.mean(expected), abs=1e-3)
    back = KtoLoss(Kto(), start, rows, np.zeros(4, np.float32), others, before + objective.baseline)
    back.begin(step)
    assert back.baseline == 0.0, "never below 0"


def test_the_rotation_avoids_answers_to_the_same_prompt():
    assert rotation(np.array([0, 1, 2])) == 1
    assert rotation(np.array([0, 0, 1, 1])) == 2
    assert rotation(np.array([7, 7])) == 1


def test_an_answer_that_no_longer_fits_is_cut_only_for_the_estimate():
    rows = unpaired_rows(load_tokenizer(tiny_model()), unpaired(preferences())[:4])
    longest = int(rows.tokens.lengths.max())
    others = Mismatched(rows, [[np.arange(4)]], longest - 1)
    assert int(others.tokens.lengths.max()) == longest - 1
    alone = Mismatched(rows, [[np.array([3])]], longest)
    assert list(alone.place) == [(3, 0)]


# Labels of single answers


def test_labels_of_pairs_become_labels_of_answers():
    rows = unpaired(preferences(("cat",)))
    require(rows, "unpaired-preference", "kto")
    assert [(r["label"], r["undecided"]) for r in rows[:2]] == [(True, False), (False, False)]
    assert rows[0]["completion"][0]["content"] == "cat kite cat" and rows[0]["n"] == 3

    def said(*verdicts):
        return [
            "?" if r["undecided"] else "+" if r["label"] else "-"
            for r in unpaired(preferences(("cat",), verdicts=verdicts))[:2]
        ]

    assert said("both_bad", "both_bad") == ["-", "-"]
    assert said("tie", "tie") == ["?", "?"]
    assert said("first", "second") == ["?", "?"]
    assert said("first", "first", "second") == ["+", "-"]
    assert said("first", "both_bad") == ["?", "-"]
    plain = {"prompt": [], "chosen": [], "rejected": []}
    assert [r["label"] for r in unpaired([plain])] == [True, False]
    assert [r["undecided"] for r in unpaired([{**plain, "p_first": 0.5}])] == [True, True]


def test_answers_that_are_as_good_are_dropped_or_labelled():
    tokenizer = load_tokenizer(tiny_model())
    tied = unpaired(preferences(("cat",), verdicts=("tie",)))
    with pytest.raises(DataError, match=r"None of the 4 answers was liked or disliked"):
        unpaired_rows(tokenizer, tied)
    assert unpaired_rows(tokenizer, tied, undecided="desirable").desirable.all()
    assert not unpaired_rows(tokenizer, tied, undecided="undesirable").desirable.any()
    more = tied + unpaired(preferences(("dog",), first=50))
    assert len(unpaired_rows(tokenizer, more)) == 4


def test_kto_takes_thumbs_as_they_come(tmp_path):
    thumbs = [
        {key: row[key] for key in ("prompt", "completion", "label")}
        for row in unpaired(preferences())
    ]
    assert run(tmp_path, METHODS["kto"], thumbs).metrics["accuracy"] == 1.0
    with pytest.raises(ModelError, match="kto needs a tuned model"):
        run(tmp_path / "b", METHODS["kto"], thumbs, model_dir=None)


# The same bytes, whatever happens on the way


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", ["orpo", "simpo", "kto"])
def test_the_same_seed_gives_the_same_files_and_a_stop_changes_nothing(tmp_path, monkeypatch, name):
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    how = METHODS[name].model_copy(update={"dtype": "bfloat16"})
    expected = run(tmp_path / "whole", how, adapter=Lora(r=2, dropout=0.1))
    answers = iter([False] * 4 + [True])
    with pytest.raises(Stopped):
        run(tmp_path, how, adapter=Lora(r=2, dropout=0.1), should_stop=lambda: next(answers))
    assert run(tmp_path, how, adapter=Lora(r=2, dropout=0.1)).metrics == expected.metrics
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")
    other = run(tmp_path / "other", how, adapter=Lora(r=2, dropout=0.1), seed=4)
    assert weights(tmp_path / "other" / "out") != weights(tmp_path / "out")
    assert other.metrics != expected.metrics


@pytest.mark.parametrize("name", ["sigmoid", "kto"])
def test_metrics_do_not_depend_on_which_process_trained(tmp_path, name):
    """What bf16 training leaves behind (another kind of attention) must not show in them."""
    how = METHODS[name].model_copy(update={"dtype": "bfloat16"})
    expected = run(tmp_path / "whole", how).metrics
    rows = unpaired(preferences()) if name == "kto" else preferences()
    job = {"rows": rows, "seed": 3, "model_dir": tiny_model(), "work": tmp_path / "work"}
    (tmp_path / "no_folder").write_text("")
    with pytest.raises((OSError, StoreError)):
        how.train(TrainingJob(out=tmp_path / "no_folder" / "out", **job))
    steps = []
    again = how.train(TrainingJob(out=tmp_path / "out", report=steps.append, **job))
    assert steps == [] and again.metrics == expected


KILLED = """
import sys, time
from pathlib import Path
from tunesmith.training import checkpoint
import tests.plugins.test_preference_methods as here

checkpoint.EVERY = 0.0
here.tiny_model = lambda: Path(sys.argv[1])
calls = []

def wait_for_the_end():
    calls.append(1)
    if len(calls) == 4:
        print("three steps are done", flush=True)
        time.sleep(600)

here.run(Path(sys.argv[2]), here.METHODS[sys.argv[3]], should_stop=wait_for_the_end)
"""


@pytest.mark.parametrize("name", ["kto", "orpo"])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, name):
    expected = run(tmp_path / "whole", METHODS[name])
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tiny_model()), str(tmp_path), name],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert child.returncode == -signal.SIGKILL and not (tmp_path / "out").exists()
    asked = []
    resumed = run(tmp_path, METHODS[name], should_stop=lambda: asked.append(1))
    assert len(asked) == 3 and resumed.metrics == expected.metrics
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")
