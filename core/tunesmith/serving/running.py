"""Start the server, and leave nothing behind when it ends."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ConfigError, ModelError, TunesmithError
from tunesmith.serving.named_models import Target
from tunesmith.serving.worker import Worker

if TYPE_CHECKING:
    import uvicorn

LOCAL = ("127.0.0.1", "localhost", "::1")
DRAIN = 5
"""Seconds that answers under way get to end after Ctrl-C."""


def serve(
    targets: list[Target], port: int, host: str = "127.0.0.1", say: Callable[[str], None] = print
) -> None:
    """Serve the models until Ctrl-C or SIGTERM; ``port`` 0 takes any free one.

    The address is said as soon as the server listens; the models load meanwhile. Raises ConfigError
    for an address that others can reach, TunesmithError for a port that is taken, and ModelError
    when no model at all could be loaded.
    """
    _check_local(host)
    from tunesmith.serving.app import Service, application

    def changed(worker: Worker) -> None:
        say(_news(worker))
        server.should_exit |= service.hopeless()

    workers = [Worker(target, changed) for target in targets]
    service = Service(workers)
    with _listening(host, port) as sock, _terminated_like_interrupted():
        server = _server(application(service), service)
        address = f"http://{_spelt(host)}:{sock.getsockname()[1]}"
        say(f"Serving {_named(targets)} at {address}/v1 (Ctrl-C ends it).")
        try:
            for worker in workers:
                worker.start()
            server.run(sockets=[sock])
        except KeyboardInterrupt:
            say("Ended.")
        finally:
            service.draining = True
            for worker in workers:
                worker.close()
    if service.hopeless():
        raise ModelError("No model could be loaded, so there is nothing to serve.")


def _news(worker: Worker) -> str:
    if worker.state == "failed":
        return f"{worker.target.id} cannot be served: {worker.reason}"
    return f"{worker.target.id} is {worker.state}."


def _check_local(host: str) -> None:
    if host not in LOCAL:
        raise ConfigError(
            f"--host {host}: the server has no keys yet, so whoever reaches it could use it. It"
            " binds this machine only (127.0.0.1); put a proxy that asks for a password in front."
        )


def _named(targets: list[Target]) -> str:
    return ", ".join(f"{one.id} ({one.engine['name']})" for one in targets)


def _spelt(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            raise TunesmithError(
                f"Port {port} is taken, perhaps by another server ({error.strerror}). Give another"
                " one with --port, or 0 for any that is free."
            ) from error
        sock.listen(128)
        yield sock


def _server(app: Any, service: Any) -> uvicorn.Server:
    import uvicorn

    class Draining(uvicorn.Server):
        """Says that it ends as soon as it is told to, while answers under way go on."""

        def handle_exit(self, sig: int, frame: Any) -> None:
            service.draining = True
            ending = threading.Timer(DRAIN, service.end_all)
            ending.daemon = True
            ending.start()
            super().handle_exit(sig, frame)

    return Draining(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=2 * DRAIN,
        )
    )


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end the server as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
