"""What a run shows while it works: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

HEADLINES = ("loss", "reward", "accuracy", "margin", "kl", "label")
"""The figures of a curve point that are worth a glance, the most telling first."""
PLAIN_EVERY = 10.0
"""Seconds between two plain lines of one stage."""
MARKS = {"waits": "·", "works": "●", "done": "✓", "cached": "=", "failed": "✗", "stopped": "■"}
STYLES = {"works": "cyan", "done": "green", "cached": "blue", "failed": "red", "stopped": "yellow"}


@dataclass(slots=True)
class Line:
    """One stage as the table shows it."""

    stage: str
    state: str = "waits"
    point: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    began: float = 0.0
    seconds: float | None = None
    told: float = 0.0

    def elapsed(self) -> str:
        """Return how long the stage has worked, in words short enough for a column."""
        if self.state == "waits" or self.state == "cached":
            return ""
        seconds = time.monotonic() - self.began if self.seconds is None else self.seconds
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"

    def share(self) -> float | None:
        """Return how far the stage is, 0 to 1, or None when it does not count steps."""
        steps = self.point.get("steps")
        return min(1.0, self.point.get("step", 0) / steps) if steps else None

    def headline(self) -> str:
        """Return the current figures, e.g. ``loss 1.23``; ``doing`` says what is being done."""
        found = [f"{k} {self.point[k]:.3f}" for k in HEADLINES if _number(self.point.get(k))]
        return "  ".join([*filter(None, [str(self.point.get("doing", ""))]), *found[:2]])


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Progress:
    """The stages of one run; use it as a context."""

    def __init__(self, stages: list[str], title: str, console: Console | None = None) -> None:
        """Show ``stages`` in order under ``title`` on ``console``."""
        self.console = console or Console()
        self.title = title
        self.lines = {stage: Line(stage) for stage in stages}
        live = Live(get_renderable=self._table, console=self.console, refresh_per_second=4)
        self.live = live if self.console.is_terminal else None

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self.live:
            self.live.start()
        else:
            self.say(self.title)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        if self.live:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print one line above the table."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, stage: str) -> None:
        """Show that a stage works."""
        line = self.lines[stage]
        line.state, line.began = "works", time.monotonic()
        line.told = line.began
        self._plain(f"{stage:<9} started")

    def point(self, stage: str, point: dict[str, Any]) -> None:
        """Show where a stage is; ``point`` may hold ``step``, ``steps``, ``loss``, ``doing``."""
        line = self.lines[stage]
        line.point = point if "doing" in point else {**line.point, **point}
        if time.monotonic() - line.told >= PLAIN_EVERY:
            line.told = time.monotonic()
            place = f"{point['step']}/{point.get('steps', '?')}" if "step" in point else ""
            self._plain(f"{stage:<9} {place} {line.headline()} ({line.elapsed()})")

    def finished(self, stage: str, note: str, *, cached: bool = False) -> None:
        """Show that a stage has its artifact."""
        self._end(stage, "cached" if cached else "done", note)

    def failed(self, stage: str, note: str) -> None:
        """Show that a stage ended with an error."""
        self._end(stage, "failed", note)

    def stopped(self, stage: str, note: str) -> None:
        """Show that a stage stopped or waits, and can go on later."""
        self._end(stage, "stopped", note)

    def _end(self, stage: str, state: str, note: str) -> None:
        line = self.lines[stage]
        line.seconds = time.monotonic() - line.began if line.state == "works" else None
        line.state, line.note = state, note.splitlines()[0] if note else ""
        spent = f" ({line.elapsed()})" if line.seconds is not None else ""
        self._plain(f"{stage:<9} {state}{spent}  {line.note}".rstrip())

    def _plain(self, text: str) -> None:
        if self.live is None:
            self.say(text)

    def _table(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for line in self.lines.values():
            style = STYLES.get(line.state, "dim")
            table.add_row(
                Text(f"{MARKS[line.state]} {line.stage}", style=style),
                self._bar(line),
                Text(line.elapsed(), justify="right"),
                Text(self._words(line), style="" if line.state == "works" else "dim"),
            )
        return Group(Text(self.title, style="bold"), table)

    @staticmethod
    def _bar(line: Line) -> ProgressBar | Text:
        share = line.share()
        if line.state != "works" or share is None:
            return Text("")
        return ProgressBar(total=1.0, completed=share, width=24)

    @staticmethod
    def _words(line: Line) -> str:
        return line.headline() if line.state == "works" else line.note
