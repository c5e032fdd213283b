"""One thread per model: it opens the engine, then does one piece of work after the other.

Loading and generating block, so neither happens in the thread that answers HTTP. What work sends
reaches the request through its event loop; where nobody listens any more, the next thing sent
raises Gone and the engine stops.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.serving.named_models import Target
from tunesmith.serving.speaking import Speaker, opened

log = logging.getLogger("tunesmith.serving")
Send = Callable[[Any], None]
Work = Callable[[Speaker, Send], None]
_PATIENCE = 15.0
"""Seconds that an engine gets to close."""


class Gone(Exception):
    """Raised inside work whose answer nobody waits for any more."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing a request hears of its work."""

    error: Exception | None = None


@dataclass(slots=True)
class _Job:
    work: Work
    loop: asyncio.AbstractEventLoop
    heard: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    gone: threading.Event = field(default_factory=threading.Event)

    def send(self, thing: Any) -> None:
        if self.gone.is_set():
            raise Gone
        self.loop.call_soon_threadsafe(self.heard.put_nowait, thing)

    def do(self, speaker: Speaker) -> None:
        """Do the work and say how it ended; raise Gone when nobody listens any more."""
        try:
            self.work(speaker, self.send)
            self.send(_End())
        except Gone:
            raise
        except Exception as error:  # whatever an engine raises is this request's, not the server's
            if not isinstance(error, TunesmithError):
                log.exception("%s failed on a request", speaker.target.id)
            self.send(_End(error))


class Worker:
    """A model that is being loaded, serves, or could not be loaded."""

    def __init__(self, target: Target, changed: Callable[[Worker], None] | None = None) -> None:
        self.target = target
        self.changed = changed
        """Is told, in the worker's thread, when the model is ready or could not be loaded."""
        self.state = "loading"
        """``loading``, ``ready``, ``failed`` or ``closed``."""
        self.reason = ""
        self.created = int(time.time())
        self.busy = 0
        """Requests that wait or are at work."""
        self.abandoned = 0
        """Requests whose work was ended because nobody waited for the answer any more."""
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._heard: dict[int, _Job] = {}
        self._thread = threading.Thread(target=self._live, name=target.id, daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    async def do(self, work: Work) -> AsyncGenerator[Any]:
        """Yield what the work sends, once its turn has come; leaving early stops the work."""
        job = _Job(work, asyncio.get_running_loop())
        self.busy += 1
        self._heard[id(job)] = job
        self._jobs.put(job)
        if self.state in ("failed", "closed"):
            self._refuse_rest()
        try:
            while not isinstance(thing := await job.heard.get(), _End):
                yield thing
            if thing.error is not None:
                raise thing.error
        finally:
            job.gone.set()
            del self._heard[id(job)]
            self.busy -= 1

    def end_all(self) -> None:
        """Tell every request that waits or is at work that the server ends; from any thread."""
        for job in list(self._heard.values()):
            job.send(_End(TunesmithError("The server is shutting down.")))
            job.gone.set()

    def close(self) -> None:
        """Let the engine go; work that is not done hears no more."""
        self._jobs.put(None)
        self._thread.join(_PATIENCE)

    def _live(self) -> None:
        try:
            with opened(self.target) as speaker:
                self._become("ready")
                while (job := self._jobs.get()) is not None:
                    self._do(job, speaker)
                self.state = "closed"
        except Exception as error:  # a model that cannot be loaded must not end the others
            self.reason = str(error)
            self._become("failed")
            if not isinstance(error, TunesmithError):
                log.exception("%s cannot be served", self.target.id)
        finally:
            self._refuse_rest()

    def _become(self, state: str) -> None:
        self.state = state
        if self.changed is not None:
            self.changed(self)

    def _do(self, job: _Job, speaker: Speaker) -> None:
        try:
            if job.gone.is_set():
                raise Gone
            job.do(speaker)
        except Gone:
            self.abandoned += 1

    def _refuse_rest(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None and not job.gone.is_set():
                job.send(_End(TunesmithError(self.reason or "The server is shutting down.")))
