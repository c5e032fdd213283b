"""The training loop: exact losses, exact batches, and exact resumption after any interruption."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.tiny_models import questions, tiny_model, weights

from tunesmith import ModelError, TrainingJob
from tunesmith.errors import Stopped, StoreError
from tunesmith.models import load_model, load_tokenizer
from tunesmith.training import (
    LoopSettings,
    Size,
    TokenLoss,
    evaluate,
    plan,
    run_loop,
)
from tunesmith.training.encoding import encode_rows
from tunesmith.training.losses import Forward
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.methods.sft import Sft

ROOT = Path(__file__).parents[2]
SETTINGS = LoopSettings(learning_rate=1e-3)


@pytest.fixture(scope="module")
def data():
    return encode_rows(load_tokenizer(tiny_model()), questions(60)).rows


def reference_loss(model, rows, picked):
    """Next-token cross-entropy the long way: full logits, an attention mask, one loop."""
    import torch

    longest = max(int(rows.lengths[i]) for i in picked)
    ids = torch.zeros(len(picked), longest, dtype=torch.long)
    attend = torch.zeros_like(ids)
    learn = torch.zeros_like(ids)
    for line, i in enumerate(picked):
        start, end = rows.starts[i], rows.starts[i + 1]
        ids[line, : end - start] = torch.from_numpy(rows.ids[start:end].astype("int64"))
        attend[line, : end - start] = 1
        learn[line, : end - start] = torch.from_numpy(rows.supervised[start:end].astype("int64"))
    logits = model(input_ids=ids, attention_mask=attend).logits
    logs = torch.log_softmax(logits, dim=-1)
    total, count = torch.zeros(()), 0
    for line in range(len(picked)):
        for at in range(1, longest):
            if learn[line, at]:
                total = total - logs[line, at - 1, ids[line, at]]
                count += 1
    return total / count


def train(folder, work, data, *, steps=6, settings=SETTINGS, size=None, **job):
    model = load_model(folder)
    made = plan(data.lengths, size or Size(256, micro_tokens=128), 7, steps=steps)
    job = TrainingJob(rows=(), out=work / "out", work=work, seed=7, **job)
    result = run_loop(model, made, TokenLoss(model, data), settings, job, {"rows": data.digest()})
    return model, result


def parameters(model):
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters())


def test_the_loss_is_the_reference_loss(data):
    model = load_model(tiny_model())
    picked = np.arange(9)
    objective = TokenLoss(model, data)
    ours = objective.loss(picked) / objective.weight(picked)
    theirs = reference_loss(model, data, picked)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


def test_the_gradient_is_the_reference_gradient_however_a_step_is_cut(data):
    import torch

    reference = load_model(tiny_model())
    picked = np.arange(12)
    reference_loss(reference, data, picked).backward()
    model = load_model(tiny_model())
    objective = TokenLoss(model, data)
    total = objective.weight(picked)
    for part in np.split(picked, [3, 4]):
        (objective.loss(part) / total).backward()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_the_denominator_is_the_number_of_supervised_tokens(data):
    objective = TokenLoss(load_model(tiny_model()), data)
    answers = [
        int(data.supervised[a:b].sum()) for a, b in zip(data.starts, data.starts[1:], strict=False)
    ]
    assert objective.weight(np.array([0, 5])) == answers[0] + answers[5]
    assert objective.weight(np.arange(len(data))) < objective.tokens(np.arange(len(data)))


def test_a_model_that_scales_its_logits_keeps_its_own_way(data):
    from transformers import CohereConfig, CohereForCausalLM

    config = CohereConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, logit_scale=0.25, pad_token_id=0,
    )  # fmt: skip
    model = CohereForCausalLM(config).eval()
    assert Forward(model).parts is None
    assert Forward(load_model(tiny_model())).parts is not None
    objective = TokenLoss(model, data)
    ours = objective.loss(np.arange(4)) / objective.weight(np.arange(4))
    assert ours.item() == pytest.approx(reference_loss(model, data, np.arange(4)).item(), rel=1e-5)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_stopped_run_goes_on_to_the_same_bytes(data, tmp_path, optimiser):
    settings = replace(SETTINGS, optimiser=optimiser, weight_decay=0.1)
    whole, result = train(tiny_model(), tmp_path / "a", data, settings=settings)
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="after 2 of 6"):
        train(
            tiny_model(), tmp_path / "b", data, settings=settings, should_stop=lambda: next(asked)
        )
    again, resumed = train(tiny_model(), tmp_path / "b", data, settings=settings)
    assert parameters(again) == parameters(whole)
    assert resumed.losses == result.losses
    assert (resumed.final_loss, resumed.tokens) == (result.final_loss, result.tokens)


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    first, _ = train(tiny_model(), tmp_path, data)
    points = []
    second, _ = train(tiny_model(), tmp_path, data, report=points.append)
    assert parameters(first) == parameters(second)
    assert points == []


def test_curve_points_say_where_the_run_is(data, tmp_path):
    points = []
    train(tiny_model(), tmp_path, data, report=points.append)
    assert points[0]["step"] == 1
    assert points[-1]["step"] == points[-1]["steps"] == 6
    assert all(point["tokens_per_second"] > 0 for point in points)


def test_training_leaves_the_callers_random_state_alone(data, tmp_path):
    import torch

    before = torch.get_rng_state()
    train(tiny_model(), tmp_path, data)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_of_another_run_is_refused(data, tmp_path):
    train(tiny_model(), tmp_path, data)
    with pytest.raises(ModelError, match="other rows, options or seed"):
        train(tiny_model(), tmp_path, data, settings=replace(SETTINGS, learning_rate=2e-3))


def test_what_a_kill_left_half_written_is_swept_away(data, tmp_path):
    torn = tmp_path / "checkpoint.123.tmp"
    torn.write_bytes(b"half")
    train(tiny_model(), tmp_path, data, steps=1)
    assert not torn.exists()


def test_a_checkpoint_that_cannot_be_written_says_so(data, tmp_path):
    (tmp_path / "work").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="Cannot write the checkpoint"):
        train(tiny_model(), tmp_path / "work", data, steps=1)


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    train(tiny_model(), tmp_path, data)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        train(tiny_model(), tmp_path, data)


def test_a_loss_that_is_no_number_stops_the_run(data, tmp_path):
    with pytest.raises(ModelError, match="Lower the learning rate"):
        train(tiny_model(), tmp_path, data, settings=replace(SETTINGS, learning_rate=1e30, clip=0))


def test_evaluation_learns_nothing(data):
    model = load_model(tiny_model())
    before = parameters(model)
    steps = plan(data.lengths, Size(256), 0, epochs=1)
    loss = evaluate(model, steps, TokenLoss(model, data), "float32")
    whole = reference_loss(model, data, range(len(data)))
    assert loss == pytest.approx(whole.item(), rel=1e-5)
    assert parameters(model) == before


KILLED = """
import sys
from pathlib import Path
from tests.tiny_models import questions
from tunesmith import TrainingJob
from tunesmith_plugins.adapters.lora import Lora
from tunesmith_plugins.methods.sft import Sft
from tunesmith.training import checkpoint, loop

checkpoint.EVERY = loop._REPORT_EVERY = 0.0
model, folder, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def report(point):
    import time
    print(point["step"], flush=True)
    time.sleep(pause)
sft = Sft(steps=12, batch_tokens=256, learning_rate=1e-3)
sft.train(TrainingJob(rows=questions(60), out=folder / "out", work=folder / "work", seed=3,
                      model_dir=model, adapter=Lora(r=4, dropout=0.1), report=report))
"""


def test_a_killed_run_ends_with_the_same_bytes(tmp_path):
    job = {"rows": questions(60), "seed": 3, "model_dir": tiny_model()}
    sft = Sft(steps=12, batch_tokens=256, learning_rate=1e-3)
    whole = TrainingJob(
        out=tmp_path / "whole", work=tmp_path / "w", adapter=Lora(r=4, dropout=0.1), **job
    )
    expected = sft.train(whole)
    _kill_at_step(5, tmp_path)
    assert (tmp_path / "work" / "checkpoint.pt").is_file()
    assert not (tmp_path / "out").exists()
    resumed = TrainingJob(
        out=tmp_path / "out", work=tmp_path / "work", adapter=Lora(r=4, dropout=0.1), **job
    )
    steps = []
    resumed.report = lambda point: steps.append(point["step"])
    outcome = sft.train(resumed)
    assert steps[0] >= 5
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert outcome.metrics == expected.metrics


def _kill_at_step(step, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tiny_model()), str(folder), "0.05"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    for line in child.stdout:
        if int(line) >= step:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    time.sleep(0.01)
    assert child.returncode == -signal.SIGKILL
