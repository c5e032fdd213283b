"""From the facts of a run to one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tunesmith import __version__
from tunesmith.errors import StoreError
from tunesmith.evidence.measurements import Measurement, Verdict
from tunesmith.report import choice, inert, pictures, sentences, words
from tunesmith.report.facts import EvidenceFacts, RunFacts
from tunesmith.report.gather import gather
from tunesmith.report.tiles import tiles
from tunesmith.store import Store

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
DUELS = 3
"""Comparisons shown in full."""


def write_report(store: Store, run_id: str, out: Path) -> Path:
    """Write the report of a run, whatever came of it, to ``out``; return its absolute path.

    The file is complete or not there: it is written beside its place and renamed.
    """
    page = render(gather(store, run_id))
    out = Path(out).absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        Path(name).chmod(0o644)
        Path(name).replace(out)
    except OSError as error:
        raise StoreError(
            f"Cannot write the report to {out}: {error.strerror}. Choose another place with --out."
        ) from error
    return out


def render(facts: RunFacts) -> str:
    """Return the page."""
    style = (HERE / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    known = _known(facts)
    return (
        environment()
        .get_template("template.html")
        .render(
            run=facts,
            style=_trusted(style),
            style_hash=_trusted(f"sha256-{digest}"),
            version=__version__,
            written_at=datetime.now(UTC),
            contents=[(anchor, title) for anchor, title, there in _sections(facts, known) if there],
            **known,
        )
    )


def environment() -> Environment:
    """Return the templates with the words as filters; everything is escaped by default."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters |= {
        "duration": words.duration, "moment": words.moment, "size": words.size,
        "named": words.name, "model": words.model, "percent": words.percent,
        "points": words.points, "value": words.value, "interval": words.interval,
        "estimate": words.estimate, "counted": words.count,
        "decimal": _decimal, "visible": inert.visible,
    }  # fmt: skip
    return made


def _decimal(number: float, digits: int = 2) -> str:
    return f"{number:.{digits}f}" if math.isfinite(number) else words.DASH


def _trusted(text: str) -> Any:
    """Mark as HTML what this package ships itself; never what a run says."""
    from markupsafe import Markup

    return Markup(text)


def _sections(facts: RunFacts, known: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Yield anchor, title, and whether the run has anything to say there."""
    measured = facts.evidence is not None
    judged = "Reward model" if facts.reward else "Feedback"
    yield "summary", "In short", True
    yield "stages", "Stages", True
    yield "curves", "Learning curves", any(known["curves"].values())
    yield "data", "Data", facts.data is not None
    yield "samples", "Before and after", bool(facts.questions)
    yield "reward", judged, bool(facts.reward or facts.feedback)
    yield "scores", "Exams", bool(facts.evidence and facts.evidence.alone())
    yield "wins", "Win rate", bool(facts.evidence and facts.evidence.wins())
    yield "choice", "What was tried", facts.choice is not None
    yield "sizes", "Size and speed", bool(facts.evidence and facts.evidence.footprints)
    yield "gates", "Gates", measured and bool(known["gates"])
    yield "lineage", "Lineage", len(facts.lineage.nodes) > 1
    yield "config", "Configuration", True
    yield "reproduce", "Do it again", True


def _known(facts: RunFacts) -> dict[str, Any]:
    """Return what the sections draw from, beside the facts themselves."""
    return {
        "headlines": sentences.headlines(facts),
        "tiles": tiles(facts),
        "timeline": pictures.timeline(facts.stages),
        "curves": {stage.name: pictures.stage_curves(stage) for stage in facts.stages},
        "lengths": pictures.lengths(facts.data) if facts.data else [],
        "tasks": _tasks(facts),
        "calibration": (
            pictures.calibration(facts.reward) if facts.reward and not facts.reward.rule else ""
        ),
        "gates": _gates(facts),
        "arcs": list(pictures.arcs(facts.lineage)),
        "row_height": pictures.ROW,
        "config": yaml.safe_dump(dict(facts.config), sort_keys=False, allow_unicode=True),
        "against_half": sentences.against_half,
        "fronts": choice.picture(facts.choice) if facts.choice else [],
        "faster": choice.faster,
        **(_measured(facts.evidence) if facts.evidence else {}),
    }


def _tasks(facts: RunFacts) -> list[str]:
    splits = facts.data.tasks.values() if facts.data else ()
    return sorted({task for tasks in splits for task in tasks})


def _gates(facts: RunFacts) -> list[Verdict]:
    reward = [facts.reward.verdict] if facts.reward else []
    return [*reward, *(facts.evidence.verdicts if facts.evidence else ())]


def _measured(evidence: EvidenceFacts) -> dict[str, Any]:
    alone = evidence.alone()
    models = [model for model in evidence.models() if any(m.model == model for m in alone)]
    table: dict[str, dict[str, Measurement]] = {}
    for one in alone:
        table.setdefault(one.name, {})[one.model] = one
    return {
        "models": models,
        "table": table,
        "scores": pictures.task_scores(evidence) if alone else "",
        "differences": pictures.differences(evidence),
        "duels": [_duel(duel) for duel in evidence.duels[:DUELS]],
        "quality": {
            model: said for model in models if (said := sentences.against_parent(evidence, model))
        },
    }


def _duel(duel: Any) -> dict[str, Any]:
    ours, theirs = duel.utility, duel.baseline_utility
    return {
        "prompt": inert.cut(duel.prompt),
        "sides": [
            (duel.model, inert.cut(duel.answer), ours, ours > theirs),
            (duel.baseline, inert.cut(duel.baseline_answer), theirs, theirs > ours),
        ],
    }
