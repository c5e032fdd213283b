"""Each divergence equals its definition, for every temperature, with and without top-k."""

import math

import pytest
import torch

from tunesmith.training import divergences
from tunesmith.training.divergences import Divergence


def logits(positions=7, vocabulary=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(2, positions, vocabulary, generator=generator)


def kl(p, q):
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


def by_hand(teacher, student, kind, beta, temperature, outcomes=lambda p, t: p):
    """Return the textbook sum, position by position and token by token."""
    total = 0.0
    for theirs, ours in zip(teacher.double(), student.double(), strict=True):
        raw = torch.softmax(theirs / temperature, -1).tolist()
        p = outcomes(raw, raw)
        q = outcomes(torch.softmax(ours / temperature, -1).tolist(), raw)
        m = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
        total += {
            "forward_kl": lambda p=p, q=q: kl(p, q),
            "reverse_kl": lambda p=p, q=q: kl(q, p),
            "jsd": lambda p=p, q=q, m=m: beta * kl(p, m) + (1 - beta) * kl(q, m),
        }[kind]()
    return total


CASES = [("forward_kl", 0.5), ("reverse_kl", 0.5), ("jsd", 0.5), ("jsd", 0.1), ("jsd", 0.9)]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize(("kind", "beta"), CASES)
def test_a_divergence_equals_its_definition(kind, beta, temperature):
    teacher, student = logits()
    found = Divergence(kind, beta, temperature).total(teacher, student)
    expected = by_hand(teacher, student, kind, beta, temperature)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(Divergence(kind, beta).total(teacher, teacher)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("kind", "beta"), CASES)
def test_top_k_tells_the_teachers_likeliest_apart_and_counts_the_rest_as_one(kind, beta):
    def coarse(values, teachers):
        best = sorted(range(len(values)), key=lambda i: -teachers[i])[:3]
        return [*(values[i] for i in best), sum(v for i, v in enumerate(values) if i not in best)]

    teacher, student = logits()
    found = Divergence(kind, beta, top_k=3).total(teacher, student)
    assert float(found) == pytest.approx(
        by_hand(teacher, student, kind, beta, 1.0, coarse), rel=1e-5
    )
    values = [float(Divergence(kind, beta, top_k=k).total(teacher, student)) for k in range(1, 12)]
    assert values == sorted(values), "telling more tokens apart never brings them nearer"
    assert values[-1] == float(Divergence(kind, beta).total(teacher, student))


def test_the_ends_of_beta_are_the_two_directions():
    teacher, student = logits()
    for beta, kind in ((0.0, "forward_kl"), (1.0, "reverse_kl")):
        end = Divergence("jsd", beta).total(teacher, student)
        assert float(end) == float(Divergence(kind).total(teacher, student))
        near = abs(beta - 1e-5)
        scaled = Divergence("jsd", near).total(teacher.double(), student.double()) / 1e-5
        assert float(scaled) == pytest.approx(float(end), rel=2e-2)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_generalised_one_is_trls(beta, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    gkd = pytest.importorskip("trl.experimental.gkd.gkd_trainer")
    teacher, student = logits()
    theirs = gkd.GKDTrainer.generalized_jsd_loss(
        student[None], teacher[None], beta=beta, temperature=1.5, reduction="sum"
    )
    ours = Divergence("jsd", beta, 1.5).total(teacher, student)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_ids_that_only_a_padded_embedding_has_are_left_out():
    teacher, student = logits()
    padded = torch.nn.functional.pad(teacher, (0, 5), value=9.0)
    whole = Divergence("reverse_kl").total(teacher, student)
    assert float(Divergence("reverse_kl").total(padded, student)) == float(whole)


@pytest.mark.parametrize("top_k", [None, 4])
@pytest.mark.parametrize(("kind", "beta"), CASES)
def test_cut_into_chunks_value_and_gradient_stay_and_less_is_kept(kind, beta, top_k, monkeypatch):
    def learnt(chunk):
        monkeypatch.setattr(divergences, "CHUNK", chunk)
        teacher, student = logits(positions=64)
        student = student.clone().requires_grad_()
        logits_themselves = {x.untyped_storage().data_ptr() for x in (teacher, student)}
        new = []

        def count(x):
            if x.untyped_storage().data_ptr() not in logits_themselves:
                new.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            loss = Divergence(kind, beta, 2.0, top_k).total(teacher, student)
        loss.backward()
        return float(loss.detach()), student.grad, sum(new)

    whole, parts = learnt(2**24), learnt(11 * 5)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert torch.allclose(parts[1], whole[1], atol=1e-6)
    assert parts[2] == 0 < whole[2], "nothing is kept beside the logits themselves"
