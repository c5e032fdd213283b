"""What techniques that change weights promise, tried on a tiny random Llama."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from tunesmith.contracts.rules import (
    Breach,
    NotTried,
    Subject,
    must_be,
    must_be_json,
    shown,
    with_model,
)
from tunesmith.contracts.samples import rows_of
from tunesmith.contracts.tiny import tiny_model
from tunesmith.errors import ModelError
from tunesmith.models import load_model, load_tokenizer
from tunesmith.records import Outcome, Row, TrainingJob
from tunesmith.rows import TYPES
from tunesmith.scorers import score_rows

_AGREEMENT = 1e-3
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")


def _job(subject: Subject, kind: str, name: str = "one") -> TrainingJob:
    """Return a job with eight rows that starts from the tiny model."""
    out, work = subject.folder / name / "out", subject.folder / name / "work"
    out.mkdir(parents=True)
    work.mkdir()
    return TrainingJob(
        rows=rows_of(kind, 8),
        eval_rows=rows_of(kind, 10)[8:],
        model_dir=tiny_model(),
        out=out,
        work=work,
        seed=11,
        reward=_shorter,
    )


def _shorter(prompts: Any, completions: Any) -> list[float]:
    """Reward short answers; a reward that every model can raise."""
    return [1 / (1 + len(text)) for text in completions]


def _outcome(value: object, verb: str) -> Outcome:
    must_be(value, Outcome, verb, "a tunesmith.Outcome")
    assert isinstance(value, Outcome)
    must_be(value.metrics, dict, f"{verb}: metrics", "a dict")
    must_be_json(value.metrics, f"metrics of {verb}")
    for key, number in value.metrics.items():
        if isinstance(number, float) and not math.isfinite(number):
            raise Breach(f"says its metric {key!r} is {number}")
    return value


def _no_pickles(folder: Path) -> None:
    found = [path.name for pattern in _PICKLES for path in folder.rglob(pattern)]
    if found:
        raise Breach(f"wrote {found[0]}; a pickle runs code when opened, write safetensors")


def _whole(folder: Path, verb: str) -> Any:
    """Return the model that was written, loaded the way every stage loads it."""
    try:
        model = load_model(folder)
        load_tokenizer(folder)
    except ModelError as error:
        raise Breach(f"left no model that can be loaded in job.out ({verb}): {error}") from error
    _no_pickles(folder)
    return model


def _digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def _ids() -> Any:
    import torch

    return torch.arange(5, 37).reshape(2, 16)


def wraps_a_model(subject: Subject) -> None:
    """wrap(model) returns a model with something to learn that still computes numbers."""
    import torch

    wrapped = subject.build().wrap(load_model(tiny_model()))
    if not hasattr(wrapped, "parameters"):
        raise Breach(f"must return a model from wrap(); it returned {shown(wrapped)}")
    if not any(one.requires_grad for one in wrapped.parameters()):
        raise Breach("leaves nothing to learn: no parameter of the wrapped model is trainable")
    with torch.no_grad():
        logits = wrapped(input_ids=_ids()).logits
    if not bool(logits.isfinite().all()):
        raise Breach("makes a model whose logits are not numbers")


def merges_what_it_learnt(subject: Subject) -> None:
    """After learning, merge(model) returns a plain model that computes the same, or refuses."""
    import torch

    adapter = subject.build()
    wrapped = adapter.wrap(load_model(tiny_model())).eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        for one in wrapped.parameters():
            if one.requires_grad:
                one.add_(0.02 * torch.randn_like(one))
        before = wrapped(input_ids=_ids()).logits
        try:
            merged = adapter.merge(wrapped)
        except ModelError as error:
            raise NotTried(f"refuses to be merged: {error}") from error
        if not hasattr(merged, "save_pretrained") or hasattr(merged, "peft_config"):
            raise Breach(f"must return a plain model from merge(); got {type(merged).__name__}")
        after = merged.eval()(input_ids=_ids()).logits
    gap = float((after - before[:, -after.shape[1] :]).abs().max())
    if not gap <= _AGREEMENT:
        raise Breach(f"merges into a model whose logits differ by {gap:.3g}; it must be the same")


ADAPTER = (with_model(wraps_a_model), with_model(merges_what_it_learnt))


def names_its_rows(subject: Subject) -> None:
    """`rows_type` is a TRL dataset type."""
    kind = getattr(subject.kind, "rows_type", "")
    if kind not in TYPES:
        raise Breach(f"must say which rows it learns from; rows_type is {kind!r}, one of {TYPES}")


def _trained(subject: Subject, name: str = "one") -> tuple[TrainingJob, Outcome]:
    names_its_rows(subject)
    job = _job(subject, subject.kind.rows_type, name)  # type: ignore[attr-defined]
    return job, _outcome(subject.build().train(job), "train()")


def trains(subject: Subject) -> None:
    """train(job) leaves a changed model in job.out and returns finite metrics."""
    job, _ = _trained(subject)
    _whole(job.out, "train()")
    if _digest(job.out) == _digest(tiny_model()):
        raise Breach("left the weights as they were; nothing was learnt")


def trains_the_same_again(subject: Subject) -> None:
    """The same rows and seed give the same bytes, and the rows stay as they are."""
    import torch

    first, _ = _trained(subject, "first")
    torch.manual_seed(999)  # a run before this one must not matter
    second, _ = _trained(subject, "second")
    if _digest(first.out) != _digest(second.out):
        raise Breach("gives other weights for the same job and seed; draw from job.seed alone")
    if second.rows != _job(subject, subject.kind.rows_type, "rows").rows:  # type: ignore[attr-defined]
        raise Breach("changed the rows of the job")


METHOD = tuple(map(with_model, (names_its_rows, trains, trains_the_same_again)))


def _answered() -> tuple[list[Row], list[str]]:
    """Return rows and an answer to each: every row is there twice, with a right and a wrong one."""
    given = rows_of("preference", 6)
    said = [row[side][0]["content"] for row in given for side in ("chosen", "rejected")]
    return [row for row in given for _ in range(2)], said


def _rows_type(subject: Subject) -> str:
    kind = str(getattr(subject.kind, "rows_type", ""))
    if kind not in ("preference", "prompt-only"):
        raise Breach(
            f"must say what it learns from; rows_type is {kind!r}: preference, or prompt-only for"
            " a rule"
        )
    return kind


def _scorer(subject: Subject) -> Any:
    """Return the scorer of a reward model that has seen eight rows of its type."""
    model = subject.build()
    job = _job(subject, _rows_type(subject))
    _outcome(model.fit(job), "fit()")
    _no_pickles(job.out)
    scorer = model.open(job.out)
    if not callable(scorer):
        raise Breach(f"must return a function (prompts, completions) from open(); got {scorer!r}")
    return scorer


def scores_completions(subject: Subject) -> None:
    """fit(job), then open(folder), gives a scorer: one finite number per completion."""
    scorer = _scorer(subject)
    rows, completions = _answered()
    scores = score_rows(scorer, rows, completions)
    must_be(scores, list, "the scorer", "a list of floats")
    if len(scores) != len(completions):
        raise Breach(f"gave {len(scores)} scores for {len(completions)} completions")
    for score in scores:
        must_be(score, (int, float), "the scorer", "floats")
        if not math.isfinite(score):
            raise Breach(f"gave a completion the score {score}")
    if len(set(scores)) == 1:
        raise Breach("gives every completion the same score, so there is nothing to learn from it")


def scores_each_alone(subject: Subject) -> None:
    """A completion's score does not depend on its company or on how often it is asked."""
    scorer = _scorer(subject)
    rows, completions = _answered()
    together = score_rows(scorer, rows, completions)
    for at in (0, 3, len(completions) - 1):
        alone = score_rows(scorer, [rows[at]], [completions[at]])[0]
        if not math.isclose(alone, together[at], rel_tol=1e-3, abs_tol=1e-3):
            raise Breach(
                f"gives one completion two scores: {alone:.4g} alone, {together[at]:.4g} in company"
            )


REWARD = (with_model(scores_completions), with_model(scores_each_alone))


def distils(subject: Subject) -> None:
    """distil(teacher, job) leaves a model in job.out that has changed, and not the teacher."""
    teacher, job = tiny_model(seed=1), _job(subject, "prompt-completion")
    before = _digest(teacher)
    _outcome(subject.build().distil(teacher, job), "distil()")
    _whole(job.out, "distil()")
    if _digest(teacher) != before:
        raise Breach("changed the teacher's files")
    if _digest(job.out) == _digest(tiny_model()):
        raise Breach("left the student's weights as they were; nothing was learnt")
    if _digest(job.out) == before:
        raise Breach("copied the teacher; a student learns")


def distils_the_same_again(subject: Subject) -> None:
    """The same rows and seed give the same student."""
    made = []
    for name in ("first", "second"):
        job = _job(subject, "prompt-completion", name)
        subject.build().distil(tiny_model(seed=1), job)
        made.append(_digest(job.out))
    if made[0] != made[1]:
        raise Breach("makes another student for the same job and seed; draw from job.seed alone")


DISTILLER = (with_model(distils), with_model(distils_the_same_again))
