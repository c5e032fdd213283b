"""Start runs: what the command line calls, with Prefect's server, a screen, and Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tunesmith import settings, stages
from tunesmith.stagekeys import stage_key
from tunesmith.store import ledger, queries, runs
from tunesmith_flows import desk as desks
from tunesmith_flows import journey, server, staging, summary
from tunesmith_flows.desk import Desk
from tunesmith_flows.progress import Progress

if TYPE_CHECKING:
    from tunesmith.config import Lifecycle


def run(
    config: Lifecycle,
    *,
    until: str | None = None,
    run_id: str | None = None,
    console: Console | None = None,
    debug: bool = False,
) -> dict[str, Any]:
    """Take a config through its stages in this process; return run, status, reason, artifacts.

    Everything that can be known beforehand is checked first. A run that waits for people, or was
    stopped with Ctrl-C, is no error: see ``status``. Errors are stored with the run and raised.
    """
    if run_id is not None:
        return resume(run_id, until=until, console=console, debug=debug)
    return _go(journey.new_desk(config, until), until, console, debug)


def resume(
    run_id: str,
    *,
    until: str | None = None,
    console: Console | None = None,
    debug: bool = False,
) -> dict[str, Any]:
    """Go on with a run that waits, was stopped, failed or died; same result as ``run``."""
    desk = journey.old_desk(run_id)
    return _go(desk, until or journey.stored_until(desk), console, debug)


def _go(desk: Desk, until: str | None, console: Console | None, debug: bool) -> dict[str, Any]:
    console = console or Console()
    # oneDNN keeps a kernel per shape; fewer spared 350 MB in 100 steps of fine-tuning the nano.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    with recorded(desk, console), desks.seated(desk), quiet(debug), stoppable(desk):
        names = [stage.name for stage in stages.planned(desk.config, until)]
        with Progress(names, journey.title(desk), console) as desk.progress:
            known = everything_cached(desk, names)
            report = _take(desk, until, known) if known else _work(desk, until, debug)
    summary.show(console, desk, report)
    return report


@contextlib.contextmanager
def recorded(desk: Desk, console: Console) -> Iterator[None]:
    """Mark a run that could not even begin its stages as failed, and say how to go on."""
    try:
        yield
    except BaseException as error:  # whatever it is, the run must not stay RUNNING
        if queries.run(desk.store, desk.run_id).status == "RUNNING":
            runs.set_status(desk.store, desk.run_id, "FAILED", reason=str(error))
        first = "It was stopped" if staging.interrupts(error) else "Put it right"
        words = f"{first}; `tunesmith resume {desk.run_id}` goes on from there."
        console.print(words, markup=False, highlight=False, soft_wrap=True)
        raise


def everything_cached(desk: Desk, names: list[str]) -> dict[str, tuple[str, str]] | None:
    """Return stage -> (key, artifact) when the ledger knows them all, else None."""
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        made = {stage: artifact for stage, (_, artifact) in found.items()}
        needs = {one: made[one] for one in stages.inputs(name, desk.config, made)}
        key = stage_key(desk.config, name, needs)
        artifact = ledger.lookup(desk.store, key)
        if artifact is None:
            return None
        found[name] = (key, artifact)
    return found


def _take(desk: Desk, until: str | None, known: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Record a run in which there is nothing to orchestrate."""
    with journey.begun(desk.config, until, desk.run_id) as trip:
        for stage, (key, artifact) in known.items():
            trip.made[stage] = staging.taken(desk, stage, key, artifact)
    return trip.report()


def _work(desk: Desk, until: str | None, debug: bool) -> dict[str, Any]:
    """Run the Prefect flow in this process, against a server that comes up meanwhile."""
    folder = settings.home().prefect
    server.settle_environment(folder)
    child = server.start(folder)
    try:
        from tunesmith_flows.lifecycle import lifecycle

        _import_heavy()
        if not debug:
            _hush_prefect()
        with server.connected(child.wait()):
            whole = desk.config.model_dump(mode="json")
            return lifecycle(config=whole, until=until, run_id=desk.run_id)
    finally:
        child.stop()


def _import_heavy() -> None:
    """Import what the stages need while the server starts on the other core."""
    import torch  # noqa: F401
    import transformers  # noqa: F401


def _hush_prefect() -> None:
    """Keep Prefect's lines and tracebacks off the screen, which shows the stages already."""
    from prefect.logging.handlers import PrefectConsoleHandler

    root, own = logging.getLogger(), logging.getLogger("prefect")
    for handler in [one for one in root.handlers if isinstance(one, PrefectConsoleHandler)]:
        root.removeHandler(handler)
    own.addHandler(logging.NullHandler())
    own.propagate = False


@contextlib.contextmanager
def quiet(debug: bool) -> Iterator[None]:
    """Keep progress bars and warnings of the training libraries off the screen."""
    if debug:
        yield
        return
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def stoppable(desk: Desk) -> Iterator[None]:
    """Let the first Ctrl-C stop at the next checkpoint, and the second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: object) -> None:
        desk.stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if desk.progress:
            desk.progress.say("Stopping at the next checkpoint; Ctrl-C again stops at once.")

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def schedule(
    config_path: str | Path,
    *,
    cron: str,
    until: str | None = None,
    overrides: tuple[str, ...] = (),
    name: str | None = None,
    console: Console | None = None,
) -> None:
    """Run a lifecycle by the clock until Ctrl-C; every run is checked when its time comes."""
    from tunesmith.config import load_config

    config = load_config(config_path, overrides)
    folder = settings.home().prepare().prefect
    server.settle_environment(folder)
    child = server.start(folder, scheduling=True)
    try:
        from prefect import serve
        from prefect.deployments.runner import EntrypointType

        from tunesmith_flows.lifecycle import lifecycle

        given = config.model_dump(mode="json") if overrides else str(Path(config_path).absolute())
        with server.connected(child.wait()):
            deployment = lifecycle.to_deployment(
                name=name or config.name,
                cron=cron,
                parameters={"config": given, "until": until},
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            (console or Console()).print(
                f"{config.name} runs at {cron!r}. Ctrl-C ends the schedule.", markup=False
            )
            serve(deployment, print_starting_message=False)
    finally:
        child.stop()
