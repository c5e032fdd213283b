"""Say so when a plugin does not come back: nothing else would, for a hang makes no noise.

A thread looks at the stack now and then; the code that is watched pays nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tunesmith.techniques import Technique

PATIENCE = 300.0
"""Seconds after which a verb that reports nothing is spoken of."""
LOADING = 20.0
"""The same for a plugin's import."""


@dataclass(slots=True)
class Watch:
    """What is known of the work that is watched."""

    warn: Callable[[str], None]
    patience: float
    owner: int = field(default_factory=threading.get_ident)
    done: threading.Event = field(default_factory=threading.Event)
    since: float = field(default_factory=time.monotonic)
    frame: FrameType | None = None
    told: bool = False

    def beat(self) -> None:
        """Note that the work goes on."""
        self.since, self.told = time.monotonic(), False

    def look(self) -> None:
        """Warn once if the same call of a third party's technique has lasted too long."""
        found = _stranger(sys._current_frames().get(self.owner))
        # The frame itself is kept, not its id: a finished call's id is soon that of another one.
        if found is None or found[0] is not self.frame:
            self.frame = found[0] if found else None
            self.beat()
            return
        lasted = time.monotonic() - self.since
        if lasted >= self.patience and not self.told:
            self.told = True
            self.warn(
                f"{found[1]} has not returned from {found[0].f_code.co_name}() for"
                f" {lasted:.0f} s. If it hangs, Ctrl-C twice stops the run."
            )


@contextmanager
def watched(warn: Callable[[str], None], patience: float = PATIENCE) -> Iterator[Watch]:
    """Warn, from another thread, when a third party's technique does not return or report."""
    watch = Watch(warn, patience)
    thread = threading.Thread(target=_keep_looking, args=(watch,), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.done.set()
        watch.frame = None


def _keep_looking(watch: Watch) -> None:
    while not watch.done.wait(watch.patience / 10):
        watch.look()


def _stranger(frame: FrameType | None) -> tuple[FrameType, str] | None:
    """Return the outermost call of a third party's technique on a stack, and the technique."""
    from tunesmith import blame, plugins
    from tunesmith.promises import named

    strangers = blame.foreign(plugins.host())
    found = None
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in strangers:
            own = frame.f_code.co_varnames[:1] == ("self",) and frame.f_locals.get("self")
            technique = type(own) if isinstance(own, Technique) else strangers[package][0]
            found = frame, named(technique)
        frame = frame.f_back
    return found


@contextmanager
def loading(warn: Callable[[str], None], patience: float = LOADING) -> Iterator[list[str]]:
    """Warn when a plugin takes long to be imported; its name is written into the list meanwhile."""
    doing: list[str] = []
    done = threading.Event()

    def look() -> None:
        last, since, told = "", time.monotonic(), ""
        while not done.wait(patience / 10):
            now = doing[-1] if doing else ""
            if now != last:
                last, since = now, time.monotonic()
            elif now and now != told and time.monotonic() - since >= patience:
                told = now
                warn(
                    f"The plugin {now} has been loading for {patience:.0f} s. If it hangs, leave it"
                    f" out: TUNESMITH_DISABLE={now.partition(' ')[0]}"
                )

    threading.Thread(target=look, daemon=True).start()
    try:
        yield doing
    finally:
        done.set()
