"""RLOO: answers are compared with the mean of their siblings, and distance costs reward."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.tiny_models import tiny_model

from tunesmith import ModelError, TrainingJob
from tunesmith.errors import Stopped
from tunesmith.models import load_model
from tunesmith.training import policy_step
from tunesmith.training.leave_one_out import LeaveOneOut, leave_one_out
from tunesmith.training.logprobs import FlatLogprobs
from tunesmith.training.policy import Clip
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.methods.rloo import Rloo

ROOT = Path(__file__).parents[2]
PROMPTS = [{"prompt": [{"role": "user", "content": f"Say {'kite ' * n}"}]} for n in range(12)]


def share_of_e(messages, completions):
    """A rule that a random model can learn: how much of an answer is the letter e."""
    return [10 * text.count("e") / (len(text) + 1) for text in completions]


RLOO = Rloo(
    steps=20, prompts_per_step=6, num_generations=4, max_completion_length=12, learning_rate=1e-2,
    beta=0.001, max_kl=None, dtype="float32", sample_every=5,
)  # fmt: skip


def rloo(folder, how=RLOO, **fields):
    fields = {
        "rows": PROMPTS, "reward": share_of_e, "seed": 3, "model_dir": tiny_model(), **fields
    }  # fmt: skip
    return how.train(TrainingJob(out=folder / "out", work=folder / "work", **fields))


# Its arithmetic


def test_an_advantage_is_the_reward_less_the_mean_of_the_others():
    rewards = [1.0, 3.0, 8.0, 2.0, 2.0, 5.0]
    expected = []
    for group in (rewards[:3], rewards[3:]):
        for i, own in enumerate(group):
            others = group[:i] + group[i + 1 :]
            expected.append(own - sum(others) / len(others))
    assert leave_one_out(torch.tensor(rewards), 3).tolist() == pytest.approx(expected)


def test_distance_is_taken_off_the_clipped_reward_before_the_comparison():
    rewards, drift = torch.tensor([9.0, 1.0, -9.0, 0.0]), torch.tensor([2.0, 0.0, 1.0, -1.0])
    clip, none = Clip(beta=0.5), Clip(beta=0.0)
    found = LeaveOneOut(clip, reward_range=(-3.0, 3.0)).advantages(rewards, drift, 2)
    # 3 - 1 = 2 against 1; -3 - 0.5 = -3.5 against 0.5.
    assert found.tolist() == pytest.approx([1.0, -1.0, -4.0, 4.0])
    assert LeaveOneOut(none).advantages(rewards, None, 2).tolist() == [8.0, -8.0, -9.0, 9.0]
    scaled = LeaveOneOut(none, normalise=True).advantages(rewards, None, 2)
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-6)
    assert float(scaled.std()) == pytest.approx(1, abs=1e-3)


def test_the_loss_clips_whole_answers():
    """Golden numbers: the clipped surrogate of each answer's own ratio, averaged over answers."""
    generator = torch.Generator().manual_seed(2)  # two answers pass a limit, one each
    lengths, advantages = [3, 1, 4, 2], [1.0, -0.5, 0.3, -2.0]
    now, before = (torch.randn(10, generator=generator) / 3 - 2 for _ in range(2))
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    expected, clipped = 0.0, 0
    for row, gain in enumerate(advantages):
        ratio = float((now[owner == row] - before[owner == row]).sum().exp())
        kept = min(max(ratio, 0.8), 1.3)
        expected -= min(ratio * gain, kept * gain) / 4
        clipped += lengths[row] * (ratio > 1.3 if gain > 0 else ratio < 0.8)
    objective = LeaveOneOut(Clip(0.2, 0.3, 0.1))
    divide_by = objective.divisors(torch.tensor(lengths), 99)
    flat = FlatLogprobs(now, owner, 4)
    found = objective.loss(flat, before, None, torch.tensor(advantages), divide_by)
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)
    assert found.clipped == clipped > 0


def test_at_the_first_iteration_the_gradient_is_reinforce():
    now = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    flat = FlatLogprobs(now, torch.tensor([0, 0, 1]), 2)
    objective, gains = LeaveOneOut(Clip()), torch.tensor([3.0, -1.0])
    divide_by = objective.divisors(torch.tensor([2, 1]), 99)
    objective.loss(flat, now.detach(), None, gains, divide_by).loss.backward()
    assert now.grad.tolist() == pytest.approx([-1.5, -1.5, 0.5])


# Its effect


def test_rloo_raises_a_simple_reward(tmp_path):
    points = []
    outcome = rloo(tmp_path, report=points.append)
    assert outcome.metrics["reward_after"] > 1.5 * outcome.metrics["reward_before"]
    assert outcome.metrics["steps"] == len(points) == 20
    assert points[0]["kl"] == pytest.approx(0, abs=1e-6) and points[-1]["kl"] > 0
    watched = {"reward", "reward_std", "clip_fraction", "entropy", "completion_length", "loss"}
    assert watched <= set(points[0])
    assert (tmp_path / "out" / "samples.jsonl").is_file()
    load_model(tmp_path / "out")


def test_a_dear_distance_keeps_the_policy_near(tmp_path):
    near = rloo(tmp_path / "near", RLOO.model_copy(update={"beta": 2.0})).metrics
    far = rloo(tmp_path / "far", RLOO.model_copy(update={"max_kl": 1e9, "beta": 0.0})).metrics
    assert near["kl"] < 0.5 * far["kl"]


def test_rloo_stops_when_the_policy_has_gone_too_far(tmp_path):
    outcome = rloo(tmp_path, RLOO.model_copy(update={"max_kl": 0.02}))
    assert outcome.metrics["stopped_by_kl"] and outcome.metrics["steps"] < 20
    assert outcome.metrics["max_kl"] <= 0.02


def test_without_a_price_nobody_asks_the_reference(tmp_path):
    free = rloo(tmp_path, RLOO.model_copy(update={"beta": 0.0, "steps": 3}))
    assert free.metrics["max_kl"] == 0.0
    with pytest.raises(ModelError, match="rloo needs a tuned model and a reward"):
        rloo(tmp_path, reward=None)


def test_more_iterations_clip(tmp_path):
    points, how = [], {"num_iterations": 3, "epsilon": 0.05, "steps": 4}
    rloo(tmp_path, RLOO.model_copy(update=how), report=points.append)
    assert max(point["clip_fraction"] for point in points) > 0


def test_a_step_s_advantages_are_those_of_its_own_rewards_and_drift(tmp_path, monkeypatch):
    """The formula, recomputed from what a real step says and what its models give it."""
    steps = []

    class Seen(policy_step.PolicyStep):
        def gradients(self, *, first):
            super().gradients(first=first)
            sums = torch.zeros(len(self.lengths))
            for at, batch in enumerate(self.micros):
                owner = torch.arange(len(batch)).repeat_interleave(self.lengths[batch])
                gap = self.before[at] - self.theirs[at]
                sums[batch] = torch.zeros(len(batch)).index_add(0, owner, gap)
            steps.append((self.rollout.rewards - 0.5 * sums, self.advantages))

    monkeypatch.setattr("tunesmith.training.policy_loop.PolicyStep", Seen)
    rloo(tmp_path, RLOO.model_copy(update={"beta": 0.5, "steps": 4}))
    for paid, advantages in steps:
        groups = paid.view(-1, 4)
        others = (groups.sum(1, keepdim=True) - groups) / 3
        assert torch.allclose(advantages, (groups - others).flatten(), atol=1e-4)
    assert len(steps) == 4 and not torch.allclose(steps[-1][0], steps[-1][0] * 0)


# The same bytes, whatever happens on the way


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stopped_rloo_goes_on_to_the_same_bytes(tmp_path, dtype):
    how = RLOO.model_copy(update={"steps": 6, "dtype": dtype, "num_iterations": 2, "beta": 0.1})
    expected = rloo(tmp_path / "whole", how, adapter=Lora(r=2, dropout=0.1))
    answers = iter([False] * 3 + [True])
    with pytest.raises(Stopped, match="3 of 6"):
        rloo(tmp_path, how, adapter=Lora(r=2, dropout=0.1), should_stop=lambda: next(answers))
    resumed = rloo(tmp_path, how, adapter=Lora(r=2, dropout=0.1))
    assert resumed.metrics == expected.metrics
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")


SHORT = RLOO.model_copy(update={"steps": 8})
KILLED = """
import sys
from pathlib import Path
from tunesmith.training import checkpoint
import tests.plugins.test_rloo as here

checkpoint.EVERY = 0.0
here.tiny_model = lambda: Path(sys.argv[1])
report = lambda point: print(point["step"], flush=True)
here.rloo(Path(sys.argv[2]), here.SHORT, report=report)
"""


def test_a_killed_rloo_ends_with_the_same_bytes(tmp_path):
    expected = rloo(tmp_path / "whole", SHORT)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tiny_model()), str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    for line in child.stdout:
        if int(line) >= 3:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    assert child.returncode == -signal.SIGKILL and not (tmp_path / "out").exists()
    steps = []
    resumed = rloo(tmp_path, SHORT, report=lambda point: steps.append(point["step"]))
    assert steps[0] >= 3
    assert resumed.metrics == expected.metrics
    assert files(tmp_path / "out") == files(tmp_path / "whole" / "out")
