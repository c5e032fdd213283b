"""The HTTP side: routes, statuses, streams; everything slow happens in the workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from tunesmith import __version__
from tunesmith.serving import answering, catalogue, delivering, refusals, shapes
from tunesmith.serving.delivering import as_json
from tunesmith.serving.refusals import Refusal
from tunesmith.serving.requests import Chat, Text
from tunesmith.serving.shapes import Json
from tunesmith.serving.worker import Worker

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LONGEST_BODY = 4_000_000
"""Bytes of a request; no context that fits this machine is longer."""
HOSTS = ["127.0.0.1", "localhost", "[::1]", "::1"]
"""Names under which a client may ask; any other is a page that reaches us by DNS rebinding."""
M = TypeVar("M", bound=BaseModel)


class Service:
    """The models that are served, by id, in the order they were named."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = {worker.target.id: worker for worker in workers}
        self.draining = False
        """Whether the server is about to end; it then takes no new work."""

    def worker(self, wanted: str) -> Worker:
        """Return the worker of a model; raise Refusal when it cannot answer."""
        if wanted not in self.workers:
            raise refusals.no_model(wanted, list(self.workers))
        worker = self.workers[wanted]
        if self.draining or worker.state == "closed":
            raise Refusal(503, "The server is shutting down.", "service_unavailable")
        if worker.state == "failed":
            why = f"{wanted} could not be loaded: {worker.reason}"
            raise Refusal(503, why, "service_unavailable", "model_not_loaded")
        return worker

    def hopeless(self) -> bool:
        """Say whether no model could be loaded."""
        return all(one.state == "failed" for one in self.workers.values())

    def end_all(self) -> None:
        """Tell every request that the server ends."""
        for worker in self.workers.values():
            worker.end_all()

    def ready(self) -> bool:
        """Say whether every model that is served can answer now."""
        return not self.draining and all(one.state == "ready" for one in self.workers.values())


def application(service: Service) -> Starlette:
    """Return the ASGI application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    def route(
        path: str, handle: Callable[[Service, Request], Awaitable[Response]], verb: str
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                return await handle(service, request)
            except Exception as error:  # noqa: BLE001  every error has an answer
                return _refused(refusals.refusal_of(error))

        return Route(path, endpoint, methods=[verb])

    return Starlette(
        routes=[
            route("/healthz", _healthz, "GET"),
            route("/readyz", _readyz, "GET"),
            route("/v1/models", _models, "GET"),
            route("/v1/models/{model:path}", _model, "GET"),
            route("/v1/chat/completions", _chat, "POST"),
            route("/v1/completions", _text, "POST"),
            route("/tunesmith/v1/techniques", _techniques, "GET"),
            route("/tunesmith/v1/prompt", _prompt, "POST"),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        exception_handlers={HTTPException: _no_route},
    )


async def _healthz(service: Service, request: Request) -> Response:
    return as_json({"status": "ok", "version": __version__})


async def _readyz(service: Service, request: Request) -> Response:
    states = {
        name: {"state": worker.state, **({"reason": worker.reason} if worker.reason else {})}
        for name, worker in service.workers.items()
    }
    body = {"ready": service.ready(), "draining": service.draining, "models": states}
    return as_json(body, 200 if service.ready() else 503)


async def _models(service: Service, request: Request) -> Response:
    return as_json({"object": "list", "data": [_about(one) for one in service.workers.values()]})


async def _model(service: Service, request: Request) -> Response:
    wanted = request.path_params["model"]
    if wanted not in service.workers:
        raise refusals.no_model(wanted, list(service.workers))
    return as_json(_about(service.workers[wanted]))


def _about(worker: Worker) -> Json:
    target = worker.target
    told = {
        "state": worker.state,
        "engine": target.engine,
        "requests": worker.busy,
        "abandoned": worker.abandoned,
        **target.facts,
    }
    return {
        "id": target.id,
        "object": "model",
        "created": worker.created,
        "owned_by": "tunesmith",
        "tunesmith": told,
    }


async def _techniques(service: Service, request: Request) -> Response:
    return as_json(await asyncio.to_thread(catalogue.techniques))


async def _chat(service: Service, request: Request) -> Response:
    asked = await _body(request, Chat)
    worker = service.worker(asked.model)
    return await delivering.answer(request, worker, asked, answering.chat(asked))


async def _text(service: Service, request: Request) -> Response:
    asked = await _body(request, Text)
    worker = service.worker(asked.model)
    return await delivering.answer(request, worker, asked, answering.text(asked))


async def _prompt(service: Service, request: Request) -> Response:
    asked = await _body(request, Chat)
    worker = service.worker(asked.model)
    things = [thing async for thing in worker.do(answering.seen(asked))]
    return as_json(things[0])


async def _body(request: Request, kind: type[M]) -> M:
    """Return the request's body; raise Refusal for one that is not what it should be."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        # Besides being wrong, it is what a foreign web page could send without asking.
        raise Refusal(415, "Send the body as JSON, with Content-Type: application/json.")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LONGEST_BODY:
            raise Refusal(413, f"The body is longer than {LONGEST_BODY:,} bytes.")
        chunks.append(chunk)
    try:
        return kind.model_validate(json.loads(b"".join(chunks)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise refusals.invalid(error) from error
        raise Refusal(400, f"The body is not JSON: {error}.", code="invalid_json") from error


def _refused(refusal: Refusal) -> Response:
    headers = {"Retry-After": "5"} if refusal.status == 503 else None
    return as_json(refusal.body(), refusal.status, headers)


async def _no_route(request: Request, error: Any) -> Response:
    detail = f"{request.method} {request.url.path}: {error.detail}."
    return as_json(shapes.error(detail, refusals.INVALID), error.status_code, error.headers)
