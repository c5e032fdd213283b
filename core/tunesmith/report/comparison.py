"""A comparison of prompt styles as one HTML page or one picture."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith import __version__, charts
from tunesmith.errors import ConfigError
from tunesmith.evidence.measurements import Answer, Measurement
from tunesmith.evidence.style_comparison import Answers, Comparison
from tunesmith.report import inert, words
from tunesmith.report.render import HERE, environment
from tunesmith.techniques import Task

SHOWN = 3
"""Items whose answers are shown in every style."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a page tells."""

    model: str
    task: Task
    items: int
    seed: int
    answers: Answers
    comparison: Comparison


def write(page: Page, out: Path) -> Path:
    """Write HTML, SVG or PNG, as the file's ending says; return the absolute path."""
    out = out.absolute()
    kind = out.suffix.lower()
    made = render(page).encode() if kind == ".html" else _picture(page, kind)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(made)
    except OSError as error:
        raise ConfigError(f"Cannot write {out}: {error.strerror}. Choose another --out.") from error
    return out


def _picture(page: Page, kind: str) -> bytes:
    drawn = charts.stacked(list(_charts(page)))
    return charts.png(drawn) if kind == ".png" else charts.svg_file(drawn).encode()


def _charts(page: Page) -> Iterator[Any]:
    """Yield the shares and, where there is anything to compare, the differences."""
    labels = {name: name.replace("_", " ") for name in page.answers}
    title = f"{page.model} on {page.items} items of {words.name(page.task.name)}"
    yield charts.intervals(_percent(page.comparison.solved), title, "% solved", labels)
    if page.comparison.differences:
        first = labels[next(iter(page.answers))]
        found = _percent(page.comparison.differences)
        yield charts.differences(found, f"difference from {first}", "points", labels)


def _percent(found: list[Measurement]) -> list[Measurement]:
    return [replace(m, value=100 * m.value, low=100 * m.low, high=100 * m.high) for m in found]


def render(page: Page) -> str:
    """Return the page; it loads nothing from anywhere."""
    from markupsafe import Markup

    style = (HERE / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        environment()
        .get_template("comparison.html")
        .render(
            page=page,
            first=next(iter(page.answers)),
            charts=[Markup(charts.svg(one)) for one in _charts(page)],
            questions=_questions(page.answers),
            style=Markup(style),
            style_hash=Markup(f"sha256-{digest}"),
            version=__version__,
        )
    )


def _questions(answers: Answers) -> list[tuple[Any, list[tuple[str, Any, bool]]]]:
    """Return the first items with what was answered in every style."""
    rows: list[tuple[Answer, ...]] = list(zip(*answers.values(), strict=True))[:SHOWN]
    return [
        (
            inert.cut(row[0].question),
            [(one.style, inert.cut(one.text), one.correct) for one in row],
        )
        for row in rows
    ]
