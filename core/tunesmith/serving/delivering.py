"""How an answer reaches the client: whole, or as server-sent events, and never to nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

from tunesmith.serving import refusals
from tunesmith.serving.answering import Ended, Part
from tunesmith.serving.requests import Chat, Text
from tunesmith.serving.shapes import Head, Json, Usage
from tunesmith.serving.worker import Work, Worker

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def answer(request: Request, worker: Worker, asked: Chat | Text, work: Work) -> Response:
    """Return the answer in one piece, or as a stream that ends when the client leaves."""
    from starlette.responses import StreamingResponse

    head = Head(isinstance(asked, Chat), asked.model, worker.target.fingerprint)
    things = _while_there(request, worker.do(work))
    if not asked.stream:
        return as_json(await _whole(head, things))
    # Before the first piece an error still has a status of its own.
    first = await anext(things)
    lines = _lines(head, first, things, asked)
    return StreamingResponse(
        lines,
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache"},
    )


async def _while_there(request: Request, things: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """Yield what the work sends, and end it as soon as the client has left."""
    from starlette.requests import ClientDisconnect

    left = asyncio.ensure_future(_left(request))
    coming = asyncio.ensure_future(_next(things))
    try:
        while True:
            await asyncio.wait({coming, left}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise ClientDisconnect
            thing = coming.result()
            if thing is None:
                return
            yield thing
            coming = asyncio.ensure_future(_next(things))
    finally:
        for task in (left, coming):
            task.cancel()
        # A generator that still waits for its next thing cannot be closed.
        await asyncio.gather(left, coming, return_exceptions=True)
        await things.aclose()


async def _next(things: AsyncGenerator[Any]) -> Any:
    return await anext(things, None)


async def _left(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(0.1)


async def _whole(head: Head, things: AsyncIterator[Any]) -> Json:
    """Return the answer in one piece."""
    texts: dict[int, str] = {}
    logprobs: dict[int, Json] = {}
    ends: dict[int, Ended] = {}
    usage = Usage()
    async for thing in things:
        if isinstance(thing, Part):
            texts[thing.index] = texts.get(thing.index, "") + thing.text
            _join(logprobs, thing)
        elif isinstance(thing, Ended):
            ends[thing.index] = thing
        else:
            usage = thing
    choices = [
        head.choice(at, texts.get(at, ""), logprobs.get(at), end.finish)
        for at, end in sorted(ends.items())
    ]
    told = {"choices": [end.told for _, end in sorted(ends.items())]}
    return head.shape(choices, usage=usage.shape(), tunesmith=told)


def _join(known: dict[int, Json], part: Part) -> None:
    if part.logprobs is None:
        return
    before = known.setdefault(part.index, {})
    for key, value in part.logprobs.items():
        before[key] = [*(before.get(key) or []), *value] if value is not None else None


async def _lines(
    head: Head, first: Any, things: AsyncIterator[Any], asked: Chat | Text
) -> AsyncIterator[str]:
    """Yield an answer as server-sent events; an error half-way is an event too."""
    begun: set[int] = set()
    try:
        thing: Any = first
        while thing is not None:
            for event in _events(head, thing, begun, asked):
                yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
            thing = await anext(things, None)
    except Exception as error:  # noqa: BLE001  the status has been sent already
        yield f"data: {json.dumps(refusals.refusal_of(error).body(), ensure_ascii=False)}\n\n"
    yield "data: [DONE]\n\n"


def _events(head: Head, thing: Any, begun: set[int], asked: Chat | Text) -> list[Json]:
    if isinstance(thing, Part):
        first = thing.index not in begun
        begun.add(thing.index)
        return [head.piece(thing.index, thing.text, thing.logprobs, first)]
    if isinstance(thing, Ended):
        return [head.last(thing.index, thing.finish, thing.told)]
    if asked.stream_options and asked.stream_options.include_usage:
        return [head.shape([], chunk=True, usage=thing.shape())]
    return []


def as_json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a body as JSON."""
    from starlette.responses import Response

    text = json.dumps(body, ensure_ascii=False)
    return Response(text, status, headers, "application/json")
