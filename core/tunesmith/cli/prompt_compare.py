"""One model asked the same items in several styles."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import plugins
from tunesmith.cli.prompt_items import Items, items_of, technique, techniques
from tunesmith.cli.prompt_pages import style_of
from tunesmith.cli.screen import say, table
from tunesmith.errors import ConfigError, DataError
from tunesmith.evidence.style_comparison import Answers, Comparison, compared
from tunesmith.prompts import label
from tunesmith.records import Row
from tunesmith.report import words
from tunesmith.stagekeys import stage_seed
from tunesmith.techniques import Engine, PromptStyle, Sampler, Task

if TYPE_CHECKING:
    from tunesmith.evidence.measurements import Measurement
    from tunesmith.generation.asking import Asker

PICTURES = (".html", ".png", ".svg")
"""What `--out` may end with."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Who is asked what, and how; ``rows`` are the same for every style."""

    model: str
    task: Task
    styles: Sequence[PromptStyle]
    rows: Sequence[Row]
    shots: Sequence[Row]
    sampler: Sampler
    engine: Engine
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a contest; ``costs`` are tokens and seconds by style."""

    contest: Contest
    answers: Answers
    comparison: Comparison
    costs: dict[str, dict[str, float]]


def contest(
    model: str,
    task: str,
    styles: str,
    items: int,
    data: Path | None,
    sampler: str,
    engine: str,
    seed: int,
) -> Contest:
    """Return the contest the options describe; every wrong name is an error before any work."""
    judged = plugins.build(Task, technique(task, "--task"))
    chosen = [style_of(spec) for spec in techniques(styles, "--styles")]
    _check(judged, chosen)
    found: Items = items_of(judged, data)
    rows = found.drawn(items, seed)
    for style in chosen:
        _check_shots(judged, style, rows, found.shots)
    return Contest(
        model, judged, chosen, rows, found.shots,
        plugins.build(Sampler, technique(sampler, "--sampler")),
        plugins.build(Engine, technique(engine, "--engine")), seed,
    )  # fmt: skip


def _check(task: Task, styles: Sequence[PromptStyle]) -> None:
    labels = [label(style) for style in styles]
    if twice := sorted({one for one in labels if labels.count(one) > 1}):
        raise ConfigError(f"--styles has {', '.join(twice)} twice; keep one.")
    if problems := [text for style in styles for text in style.problems_with_task(task)]:
        raise ConfigError(" ".join(problems))


def _check_shots(task: Task, style: PromptStyle, rows: Sequence[Row], shots: Sequence[Row]) -> None:
    try:
        for row in rows:
            style.messages(task, row, shots)
    except DataError as error:
        raise DataError(f"--styles {label(style)}: {error}") from error


def held(wanted: Contest) -> Result:
    """Ask the model everything and compare the answers."""
    from tunesmith.evidence.grading import sit

    answers: Answers = {}
    costs: dict[str, dict[str, float]] = {}
    with _asking(wanted) as asker_for:
        for style in wanted.styles:
            name, asker = label(style), asker_for(style)
            _tell(f"{name}: {len(wanted.rows)} items ...")
            answers[name] = sit(wanted.model, wanted.task, style, wanted.rows, wanted.shots, asker)
            costs[name] = _costs(asker, len(wanted.rows))
    return Result(wanted, answers, compared(answers, wanted.task.metric, wanted.seed), costs)


@contextmanager
def _asking(wanted: Contest) -> Iterator[Any]:
    """Open the model; give a function from a style to what it asks."""
    from tunesmith.chat import stop_ids
    from tunesmith.generation.asking import Asker
    from tunesmith.models import inspect_model, load_tokenizer, resolve_model

    folder = resolve_model(wanted.model)
    tokenizer, context = load_tokenizer(folder), inspect_model(folder).context
    stops, names = stop_ids(tokenizer, folder), [str(row["id"]) for row in wanted.rows]
    with wanted.engine.open(folder) as opened:

        def asker_for(style: PromptStyle) -> Asker:
            seed = stage_seed(wanted.seed, f"{wanted.task.name}/{style.name}")
            return Asker(
                opened, tokenizer, stops, context, label(style), wanted.task, names,
                wanted.sampler, seed,
            )  # fmt: skip

        yield asker_for


def _costs(asker: Asker, items: int) -> dict[str, float]:
    """Return what one item costs: tokens read and written, calls, seconds."""
    return {
        "calls": asker.calls,
        "tokens_read": asker.read / items,
        "tokens_written": asker.written / items,
        "seconds": asker.seconds / items,
    }


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def facts(result: Result) -> dict[str, Any]:
    """Return everything as JSON; what is not a number is null."""
    asked, comparison = result.contest, result.comparison
    return {
        "model": asked.model,
        "task": asked.task.name,
        "metric": asked.task.metric,
        "items": len(asked.rows),
        "seed": asked.seed,
        "sampler": asked.sampler.name,
        "engine": asked.engine.name,
        "baseline": label(asked.styles[0]),
        "difference_confidence": comparison.confidence,
        "styles": [
            {
                "style": solved.name,
                "solved": _number(solved),
                "score": _number(score),
                "difference": _difference(comparison, solved.name),
                "per_item": result.costs[solved.name],
            }
            for solved, score in zip(comparison.solved, comparison.scores, strict=True)
        ],
        "answers": [asdict(one) for given in result.answers.values() for one in given],
    }


def _number(m: Measurement) -> dict[str, Any]:
    plain = {"value": m.value, "low": m.low, "high": m.high}
    found: dict[str, Any] = {k: v if math.isfinite(v) else None for k, v in plain.items()}
    return found | {"n": m.n}


def _difference(comparison: Comparison, style: str) -> dict[str, Any] | None:
    found = comparison.difference(style)
    return _number(found) | {"words": found.significance()} if found else None


def show(result: Result) -> None:
    """Write the comparison as a table."""
    asked, comparison = result.contest, result.comparison
    first = label(asked.styles[0])
    say(f"{asked.model} on {len(asked.rows)} items of {asked.task.name}, seed {asked.seed}\n")
    columns = ("style", "solved", "95 %", f"points over {first}", "", "read", "written")
    table(columns, (_line(result, m) for m in comparison.solved))
    say("\nread and written: tokens per item, all calls and samples counted.")
    if comparison.differences:
        say(
            "Differences are paired: bootstrap over the items, each with"
            f" {100 * comparison.confidence:.4g} % so that all hold together with 95 %."
        )


def _line(result: Result, m: Measurement) -> tuple[str, ...]:
    gap, cost = result.comparison.difference(m.name), result.costs[m.name]
    return (
        m.name,
        words.value(m),
        words.interval(m),
        words.points(gap) if gap else "",
        gap.significance() if gap else "",
        f"{cost['tokens_read']:,.0f}",
        f"{cost['tokens_written']:,.0f}",
    )


def write(result: Result, out: Path) -> Path:
    """Write the picture; ConfigError for an ending that is none of `PICTURES`."""
    from tunesmith.report import comparison

    checked_out(out)
    asked = result.contest
    return comparison.write(
        comparison.Page(
            asked.model, asked.task, len(asked.rows), asked.seed, result.answers, result.comparison
        ),
        out,
    )


def checked_out(out: Path | None) -> None:
    """Refuse a picture of an unknown kind before any work."""
    if out is not None and out.suffix.lower() not in PICTURES:
        raise ConfigError(f"--out {out}: pictures end with {', '.join(PICTURES)}.")
