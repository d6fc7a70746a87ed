"""Streams (server-sent events): what happens to a run, and what a step prints, from where the reader left off."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel import ids
from mandamus.kernel.access import Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RUN_CLOSED
from mandamus.serving.house import House

MEDIA_TYPE = "text/event-stream"
QUIET_S = 15.0
"""So long nothing is said before a comment is, that tells everyone between that the stream lives."""
LOOK_S = 0.2
"""How often a follower looks for what is no event: output reaches the database in such steps."""

RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {}}, "description": "Server-sent events."}}

routes = Routes("runs")

Last = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=20, description="Go on behind this event; browsers send it.")
]


@routes.verb("GET", "/runs/{run}/events", Permission.RUN_READ, response_class=StreamingResponse, responses=RESPONSES)
async def follow_run(request: Request, house: TheHouse, who: Who, run: str, last: Last = None) -> StreamingResponse:
    """What happens to the run, from its first event: ``id`` is its place in the run's own chain, ``event`` its kind.

    The last one is ``end``, when the run is closed.
    """
    run_id = RunId(ids.parse("run", run))
    after = _number(last, -1)
    await run_in_threadpool(house.runs.show, who, run_id)
    return _stream(_events(request, house, who, run_id, after))


@routes.verb(
    "GET",
    "/runs/{run}/steps/{step}/log/stream",
    Permission.RUN_READ,
    response_class=StreamingResponse,
    responses=RESPONSES,
)
async def follow_log(
    request: Request,
    house: TheHouse,
    who: Who,
    run: str,
    step: str,
    *,
    phase: Annotated[str, Query(pattern="^(plan|apply)$")] = "apply",
    attempt: Annotated[int | None, Query(ge=1)] = None,
    last: Last = None,
) -> StreamingResponse:
    """What the step prints: ``id`` is the byte offset behind each piece, ``data`` its bytes in base 64."""
    run_id = RunId(ids.parse("run", run))
    read = partial(house.runs.logs, who, run_id, step, phase=phase, attempt=attempt)
    offset = _number(last, 0)
    await run_in_threadpool(read, offset=offset)
    return _stream(_pieces(request, house, who, run_id, step, read, offset))


async def _events(request: Request, house: House, who: Subject, run_id: RunId, after: int) -> AsyncIterator[bytes]:
    async with request.app.state.hub.follower() as follower:
        while True:
            # Asked before the events are read: what comes between the two is then read, not missed.
            view = await run_in_threadpool(house.runs.show, who, run_id)
            found = await run_in_threadpool(house.runs.events, who, run_id, after)
            for leaf in found:
                after = leaf["seq"]
                yield _message(str(after), leaf["kind"], leaf)
            if found:
                continue
            closed = view.run.state in RUN_CLOSED
            if closed and view.run.evidence is not None:
                yield _message(str(after), "end", {"state": view.run.state.value})
                return
            # That a run has its evidence is written after the last event of it.
            if not await follower.woken(LOOK_S if closed else QUIET_S) and not closed:
                yield b": still here\n\n"
                await _still(request)


async def _pieces(
    request: Request, house: House, who: Subject, run_id: RunId, step: str, read: Callable[..., Any], offset: int
) -> AsyncIterator[bytes]:
    quiet_s = 0.0
    async with request.app.state.hub.follower() as follower:
        while True:
            view = await run_in_threadpool(house.runs.show, who, run_id)
            piece = await run_in_threadpool(read, offset=offset)
            offset = piece.next_offset
            if piece.data:
                quiet_s = 0.0
                yield _message(str(offset), "log", base64.b64encode(piece.data).decode())
                continue
            if piece.done or view.run.state in RUN_CLOSED:
                yield _message(str(offset), "end", {"step": step})
                return
            await follower.woken(LOOK_S)
            quiet_s += LOOK_S
            if quiet_s >= QUIET_S:
                quiet_s = 0.0
                yield b": still here\n\n"
                await _still(request)


async def _still(request: Request) -> None:
    """Raise unless the token of the reader is still good; a stream ends with it."""
    secret = request.headers.get("authorization", "").partition(" ")[2]
    await run_in_threadpool(request.app.state.house.tokens.authenticate, secret.strip())


def _stream(body: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(body, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})


def _message(id_: str, kind: str, data: Any) -> bytes:
    return f"id: {id_}\nevent: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isdecimal():
        raise MandamusError(Code.VALUE_INVALID, "Last-Event-ID is no number", remedy="send the last id as it came")
    return int(text)
