"""Policy and direct preference optimisation: both move a model, no further than they may."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_models import tiny_model, weights

from tunesmith import DataError, Label, ModelError, Pair, TrainingJob
from tunesmith.errors import Stopped
from tunesmith.models import load_model, load_tokenizer
from tunesmith.preferences import preference_rows
from tunesmith.training import checkpoint
from tunesmith.training.direct import answer_logprobs
from tunesmith.training.dpo_losses import dpo_loss
from tunesmith.training.logprobs import FlatLogprobs, logprobs
from tunesmith.training.losses import Forward
from tunesmith.training.policy import Clip, divisors, group_advantages, k3, policy_loss
from tunesmith.training.preference import pair_rows
from tunesmith.training.preference_losses import Answers, soft
from tunesmith.training.rollouts import prompts_of_step
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.methods.dpo import Dpo
from tunesmith_plugins.methods.grpo import Grpo
from tunesmith_plugins.methods.sft import Sft

ROOT = Path(__file__).parents[2]


def prompts(count=12):
    return [{"prompt": [{"role": "user", "content": f"Say {'kite ' * n}"}]} for n in range(count)]


def share_of_e(messages, completions):
    """A rule that a random model can learn: how much of an answer is the letter e."""
    return [10 * text.count("e") / (len(text) + 1) for text in completions]


GRPO = Grpo(
    steps=20, prompts_per_step=4, num_generations=6, max_completion_length=12, learning_rate=1e-2,
    beta=0.001, max_kl=None, dtype="float32", sample_every=5,
)  # fmt: skip


def grpo(folder, how=GRPO, **fields):
    fields = {
        "rows": prompts(), "reward": share_of_e, "seed": 3, "model_dir": tiny_model(), **fields
    }  # fmt: skip
    job = TrainingJob(out=folder / "out", work=folder / "work", **fields)
    return how.train(job)


def preferences(count=24, **shares):
    def pair(i):
        prompt = [{"role": "user", "content": f"Say something, number {i}."}]
        return Pair(f"p{i}", "talk", prompt, "kite kite", "dog dog", {})

    made = [pair(i) for i in range(count)]
    rows = preference_rows(made, [Label(p.id, a, "first") for p in made for a in "xyz"])
    return [{**row, **shares} for row in rows]


DPO = Dpo(epochs=3, learning_rate=3e-3, batch_size=8, dtype="float32")


def dpo(folder, how=DPO, **fields):
    fields = {"rows": preferences(), "seed": 3, **fields}
    job = TrainingJob(out=folder / "out", work=folder / "work", model_dir=tiny_model(), **fields)
    return how.train(job)


# Policy optimisation


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A tiny model that answers with a word or two: a random one gives LoRA nothing to turn."""
    folder = tmp_path_factory.mktemp("tuned")
    words = ["kite", "dog", "cat", "a friend", "the cat", "my dog", "cake", "hello"]
    rows = [
        {**row, "completion": [{"role": "assistant", "content": words[i % 8]}]}
        for i, row in enumerate(prompts(64))
    ]
    sft = Sft(steps=40, batch_tokens=512, learning_rate=1e-2, dtype="float32")
    job = TrainingJob(rows=rows, out=folder / "out", work=folder / "work", seed=1)
    job.model_dir = tiny_model()
    sft.train(job)
    return folder / "out"


def test_grpo_raises_a_simple_reward(tmp_path):
    points = []
    outcome = grpo(tmp_path, report=points.append)
    assert outcome.metrics["reward_after"] > 1.5 * outcome.metrics["reward_before"]
    assert outcome.metrics["steps"] == len(points) == 20
    assert points[0]["kl"] == pytest.approx(0, abs=1e-6) and points[-1]["kl"] > 0
    watched = {"reward", "reward_std", "clip_fraction", "entropy", "completion_length", "loss"}
    assert watched <= set(points[0])
    load_model(tmp_path / "out")


def test_grpo_raises_it_through_an_adapter(tmp_path, tuned):
    how = GRPO.model_copy(update={"steps": 80, "learning_rate": 5e-3})
    outcome = grpo(tmp_path, how, adapter=Lora(r=8), model_dir=tuned)
    assert outcome.metrics["reward_after"] > 1.3 * outcome.metrics["reward_before"]
    assert (tmp_path / "out" / "adapter").is_dir()
    load_model(tmp_path / "out")


def test_a_dear_distance_keeps_the_policy_near(tmp_path):
    near = grpo(tmp_path / "near", GRPO.model_copy(update={"beta": 5.0})).metrics
    far = grpo(tmp_path / "far", GRPO.model_copy(update={"beta": 0.0})).metrics
    assert near["kl"] < 0.5 * grpo(tmp_path / "x").metrics["kl"]
    assert far["max_kl"] == 0.0  # without beta and limit nobody asks the reference


def test_grpo_stops_when_the_policy_has_gone_too_far(tmp_path):
    outcome = grpo(tmp_path, GRPO.model_copy(update={"max_kl": 0.02}))
    assert outcome.metrics["stopped_by_kl"] and outcome.metrics["steps"] < 20
    assert outcome.metrics["max_kl"] <= 0.02


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo"])
def test_more_iterations_clip_and_every_normalisation_learns(tmp_path, loss_type):
    how = {"loss_type": loss_type, "num_iterations": 3, "epsilon": 0.1, "steps": 6}
    points = []
    grpo(tmp_path, GRPO.model_copy(update=how), report=points.append)
    assert max(point["clip_fraction"] for point in points) > 0


def test_samples_are_kept_for_the_browser(tmp_path):
    grpo(tmp_path)
    lines = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert sorted({sample["step"] for sample in samples}) == [0, 5, 10, 15, 19]
    assert len(samples) == 5 * 2 * 6
    assert {"prompt", "completion", "reward", "advantage", "finish"} <= set(samples[0])


def test_prompts_that_leave_no_room_are_counted(tmp_path):
    long = {"prompt": [{"role": "user", "content": "kite " * 200}]}
    how = GRPO.model_copy(update={"steps": 1})
    assert grpo(tmp_path, how, rows=[*prompts(), long]).metrics["prompts_too_long"] == 1
    with pytest.raises(DataError, match="max_completion_length"):
        grpo(tmp_path / "b", how, rows=[long])


def test_a_reward_that_is_no_number_is_named(tmp_path):
    with pytest.raises(ModelError, match="finite numbers"):
        grpo(tmp_path, reward=lambda messages, completions: [float("nan")] * len(completions))
    with pytest.raises(ModelError, match="a reward"):
        grpo(tmp_path, reward=None)


def test_every_prompt_is_asked_once_before_any_is_asked_again():
    asked = [i for step in range(6) for i in prompts_of_step(8, 4, step, 1)]
    assert sorted(asked[:8]) == sorted(asked[8:16]) == list(range(8))
    assert asked[:8] != asked[8:16]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stopped_grpo_goes_on_to_the_same_bytes(tmp_path, dtype):
    how = GRPO.model_copy(update={"steps": 8, "dtype": dtype, "num_iterations": 2})
    expected = grpo(tmp_path / "whole", how, adapter=Lora(r=2, dropout=0.1))
    answers = iter([False] * 5 + [True])
    with pytest.raises(Stopped, match="5 of 8"):
        grpo(tmp_path, how, adapter=Lora(r=2, dropout=0.1), should_stop=lambda: next(answers))
    # A fresh process has run nothing yet that could have switched the attention's kind.
    resumed = grpo(tmp_path, how, adapter=Lora(r=2, dropout=0.1))
    assert resumed.metrics == expected.metrics
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


KILLED = """
import sys
from pathlib import Path
from tests.plugins.test_alignment import grpo
from tests import tiny_models
from tunesmith.training import checkpoint
from tunesmith.training.direct import answer_logprobs
from tunesmith.training.dpo_losses import dpo_loss

checkpoint.EVERY = 0.0
folder = Path(sys.argv[2])
tiny_models.tiny_model = lambda: Path(sys.argv[1])
import tests.plugins.test_alignment as here
here.tiny_model = tiny_models.tiny_model
grpo(folder, report=lambda point: print(point["step"], flush=True))
"""


def test_a_killed_grpo_ends_with_the_same_bytes(tmp_path):
    expected = grpo(tmp_path / "whole")
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tiny_model()), str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    for line in child.stdout:
        if int(line) >= 9:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    assert child.returncode == -signal.SIGKILL and not (tmp_path / "out").exists()
    steps = []
    resumed = grpo(tmp_path, report=lambda point: steps.append(point["step"]))
    assert steps[0] >= 8
    assert resumed.metrics == expected.metrics
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")


# Its arithmetic


def test_advantages_are_relative_to_the_group():
    rewards = torch.tensor([1.0, 3.0, 5.0, 5.0])
    assert group_advantages(rewards, 2, "none").tolist() == [-1.0, 1.0, 0.0, 0.0]
    scaled = group_advantages(rewards, 2, "group")
    assert scaled.tolist() == pytest.approx([-0.7071, 0.7071, 0, 0], abs=1e-3)
    assert float(group_advantages(rewards, 2, "batch").max()) == pytest.approx(1 / 1.9149, rel=1e-3)


def test_the_policy_loss_is_the_reference_loss():
    """Golden numbers: the formula of Shao et al. 2024 written out token by token."""
    generator = torch.Generator().manual_seed(0)
    lengths = [3, 1, 4, 2]
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    now, before, theirs = (torch.randn(10, generator=generator) / 3 - 2 for _ in range(3))
    advantages = torch.tensor([1.0, -0.5, 0.3, -2.0])
    clip = Clip(epsilon=0.2, epsilon_high=0.3, beta=0.1)
    for how, divide in (
        ("grpo", [n * 4 for n in lengths]), ("bnpo", [10] * 4), ("dr_grpo", [4 * 7] * 4)
    ):  # fmt: skip
        expected, at = 0.0, 0
        for row, length in enumerate(lengths):
            for _ in range(length):
                ratio = np.exp(float(now[at] - before[at]))
                gain = float(advantages[row])
                surrogate = min(ratio * gain, min(max(ratio, 0.8), 1.3) * gain)
                gap = float(theirs[at] - now[at])
                expected -= (surrogate - 0.1 * (np.exp(gap) - gap - 1)) / divide[row]
                at += 1
        divisor = divisors(torch.tensor(lengths), how, 7)
        flat = FlatLogprobs(now, owner, 4)
        found = policy_loss(flat, before, theirs, advantages, divisor, clip)
        assert float(found.loss) == pytest.approx(expected, rel=1e-5), how


def test_the_kl_estimate_is_never_negative_and_right_on_average():
    logits = torch.tensor([[0.2, -1.0, 0.7]]), torch.tensor([[1.0, 0.0, -0.5]])
    policy, reference = (one.log_softmax(-1).squeeze(0) for one in logits)
    drawn = torch.multinomial(
        policy.exp(), 200_000, replacement=True, generator=torch.Generator().manual_seed(1)
    )
    estimate = k3(policy[drawn], reference[drawn])
    exact = float((policy.exp() * (policy - reference)).sum())
    assert float(estimate.min()) >= 0
    assert float(estimate.mean()) == pytest.approx(exact, rel=0.02)


# Direct preference optimisation


@pytest.mark.parametrize("adapter", [None, Lora(r=8)])
@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "ipo"])
def test_dpo_raises_the_chosen_margin(tmp_path, loss_type, adapter):
    points, how = [], DPO.model_copy(update={"loss_type": loss_type})
    outcome = dpo(tmp_path, how, adapter=adapter, eval_rows=preferences(4), report=points.append)
    assert outcome.metrics["accuracy"] == outcome.metrics["eval_accuracy"] == 1.0
    assert outcome.metrics["reward_chosen"] > outcome.metrics["reward_rejected"]
    assert points[-1]["margin"] > points[0]["margin"]
    load_model(tmp_path / "out")


def test_dpo_learns_nothing_from_ties(tmp_path):
    tied = dpo(tmp_path, rows=preferences(p_first=0.5)).metrics["margin"]
    assert abs(tied) < 0.05 * abs(dpo(tmp_path / "b").metrics["margin"])
    with pytest.raises(DataError, match="all are ties"):
        dpo(tmp_path / "c", DPO.model_copy(update={"ties": "drop"}), rows=preferences(p_first=0.5))


def test_the_dpo_loss_is_the_reference_loss(tmp_path):
    """Golden numbers: Rafailov et al. 2023, equation 7, from plain log-probabilities."""
    tokenizer = load_tokenizer(tiny_model())
    rows = [{**row, "p_first": p} for row, p in zip(preferences(3), (1.0, 2 / 3, 0.5), strict=True)]
    policy, reference = load_model(tiny_model(1)), load_model(tiny_model(0))
    pairs = pair_rows(tokenizer, rows)
    now, start = (answer_logprobs(Forward(model), pairs.tokens) for model in (policy, reference))
    moved = now - start
    by_hand = [
        plain_logprob(policy, pairs, at) - plain_logprob(reference, pairs, at) for at in range(6)
    ]
    assert moved.tolist() == pytest.approx(by_hand, abs=1e-4)
    better, worse = (
        Answers(*(torch.from_numpy(x[side::2]) for x in (now, start, pairs.tokens.targets)))
        for side in (0, 1)
    )
    gap, p = torch.from_numpy(moved[::2] - moved[1::2]), torch.from_numpy(pairs.p)
    for smoothing in (0.0, 0.1):
        expected = []
        for g, share in zip(gap.tolist(), p.tolist(), strict=True):
            q = share * (1 - smoothing) + (1 - share) * smoothing
            expected.append(q * np.log1p(np.exp(-0.3 * g)) + (1 - q) * np.log1p(np.exp(0.3 * g)))
        found = soft(
            dpo_loss(better, worse, beta=0.3, smoothing=smoothing),
            dpo_loss(worse, better, beta=0.3, smoothing=smoothing),
            p,
        )
        assert found.tolist() == pytest.approx(expected, rel=1e-4)


def plain_logprob(model, pairs, row):
    """Sum of log p(token) over the answer, the plainest way there is."""
    start, stop = pairs.tokens.starts[row], pairs.tokens.starts[row + 1]
    ids = torch.tensor(pairs.tokens.ids[start:stop].astype(int))[None]
    with torch.no_grad():
        scores = model(input_ids=ids).logits.log_softmax(-1)[0]
    answer = pairs.tokens.supervised[start:stop]
    return sum(float(scores[t - 1, ids[0, t]]) for t in range(1, stop - start) if answer[t])


def test_the_gradient_of_dpo_is_the_reference_gradient(tmp_path):
    model = load_model(tiny_model())
    pairs = pair_rows(load_tokenizer(tiny_model()), preferences(2))
    values = logprobs(Forward(model), pairs.tokens, pairs.answers(np.arange(2))).sums()
    gap = values[:2] - values[2:]
    better, worse = (Answers(v, v.detach(), torch.ones(2)) for v in values.chunk(2))
    dpo_loss(better, worse).sum().backward(retain_graph=True)
    found = model.get_input_embeddings().weight.grad.clone()
    model.zero_grad()
    (-0.05 * gap.sum()).backward()  # at gap 0 the slope is -beta / 2
    assert torch.allclose(found, model.get_input_embeddings().weight.grad, atol=1e-6)


def test_a_stopped_dpo_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    expected = dpo(tmp_path / "whole", adapter=Lora(r=2))
    answers = iter([False] * 4 + [True])
    with pytest.raises(Stopped):
        dpo(tmp_path, adapter=Lora(r=2), should_stop=lambda: next(answers))
    assert dpo(tmp_path, adapter=Lora(r=2)).metrics == expected.metrics
    assert weights(tmp_path / "out") == weights(tmp_path / "whole" / "out")


def test_dpo_takes_plain_preference_rows_too(tmp_path):
    plain = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in preferences(8)]
    assert dpo(tmp_path, rows=plain).metrics["accuracy"] == 1.0
    with pytest.raises(ModelError, match="needs a tuned model"):
        DPO.train(TrainingJob(rows=plain, out=tmp_path, work=tmp_path, seed=0))
