"""Streams (server-sent events): what happens to a run, and what a step prints, from where the reader left off."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import structlog
from fastapi import Header, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who, again
from mandamus.executors.output import Piece
from mandamus.kernel import ids
from mandamus.kernel.access import Permission, Subject
from mandamus.kernel.errors import Code
from mandamus.kernel.ids import RunId
from mandamus.operations.trouble import known
from mandamus.runs.lifecycle import RUN_CLOSED
from mandamus.serving.house import House
from mandamus.serving.hub import Follower, Hub
from mandamus.serving.refusals import record

MEDIA_TYPE = "text/event-stream"
QUIET = b": still here\n\n"
QUIET_S = 15.0
"""So long nothing is said before a comment is, that tells everyone between that the stream lives."""
LOOK_S = 0.2
"""How often a follower looks for what is no event: that the evidence of a run is there."""

RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {}}, "description": "Server-sent events."}}

log = structlog.get_logger()
routes = Routes("runs")

Read = Callable[[int], Piece]

Last = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=20, description="Go on behind this event; browsers send it.")
]


@routes.verb("GET", "/runs/{run}/events", Permission.RUN_READ, response_class=StreamingResponse, responses=RESPONSES)
async def follow_run(
    request: Request, house: TheHouse, who: Who, run: given.Run, last: Last = None
) -> StreamingResponse:
    """What happens to the run, from its first event: ``id`` is its place in the run's own chain, ``event`` its kind.

    The last one is ``end``, when the run is closed, or ``stopped``, which says why, when the reader may not go on.
    """
    run_id = RunId(ids.parse("run", run))
    after = given.number(last, -1, "Last-Event-ID")
    await run_in_threadpool(house.runs.glance, who, run_id)
    return _stream(request, _events(_Reader(request, house, who), run_id, after))


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
    run: given.Run,
    step: given.Step,
    *,
    phase: given.Phase = "apply",
    attempt: given.Attempt = None,
    last: Last = None,
) -> StreamingResponse:
    """What the step prints: ``id`` is the byte offset behind each piece, ``data`` its bytes in base 64."""
    run_id = RunId(ids.parse("run", run))
    offset = given.number(last, 0, "Last-Event-ID")
    ask = partial(house.runs.follow_log, run_id=run_id, step=step, phase=phase, attempt=attempt)
    read = await run_in_threadpool(ask, who)
    return _stream(request, _pieces(_Reader(request, house, who), run_id, step, ask, read, offset))


async def _events(reader: _Reader, run_id: RunId, after: int) -> AsyncIterator[bytes]:
    ended = None
    async with reader.follower() as follower:
        while True:
            found = await run_in_threadpool(reader.house.runs.events, await reader.who(), run_id, after)
            for leaf in found:
                after = leaf["seq"]
                yield _message(str(after), leaf["kind"], leaf)
            if found:
                continue
            if ended is not None:
                yield _message(str(after), "end", {"state": ended.state.value})
                return
            run = await run_in_threadpool(reader.house.runs.glance, await reader.who(), run_id)
            closed = run.state in RUN_CLOSED
            if closed and run.evidence is not None:
                # What came between the two looks is read once more before the end is told.
                ended = run
                continue
            # That a run has its evidence is written after the last event of it.
            if not await follower.woken(LOOK_S if closed else reader.look_s) and reader.is_quiet():
                yield QUIET


async def _pieces(
    reader: _Reader, run_id: RunId, step: str, ask: Callable[[Subject], Read], read: Read, offset: int
) -> AsyncIterator[bytes]:
    asked, closed = await reader.who(), False
    async with reader.follower(output=True) as follower:
        while True:
            who = await reader.who()
            if who is not asked:
                # Policy is asked again as often as the token is: each time is an event, which wakes every reader.
                asked, read = who, await run_in_threadpool(ask, who)
            piece = await run_in_threadpool(read, offset)
            offset = piece.next_offset
            if piece.data:
                yield _message(str(offset), "log", base64.b64encode(piece.data).decode())
                continue
            if piece.done or closed:
                yield _message(str(offset), "end", {"step": step})
                return
            run = await run_in_threadpool(reader.house.runs.glance, who, run_id)
            closed = run.state in RUN_CLOSED
            if not closed and not await follower.woken(reader.look_s) and reader.is_quiet():
                yield QUIET


class _Reader:
    """Who follows: for as long as their token is good and lets them read.

    That they follow is told once, of somebody whose reads are recorded: each record is an event, which wakes followers.
    """

    def __init__(self, request: Request, house: House, who: Subject) -> None:
        self.house = house
        self.look_s = min(QUIET_S, request.app.state.recheck_s)
        self._request = request
        self._who = replace(who, told=None)
        self._checked_s = self._told_s = house.clock.monotonic_s()

    def follower(self, *, output: bool = False) -> AbstractAsyncContextManager[Follower]:
        """Wakes the reader."""
        hub: Hub = self._request.app.state.hub
        return hub.follower(output=output)

    async def who(self) -> Subject:
        """The reader with what they may now; raises ``unauthenticated`` and ``forbidden`` soon after they may not."""
        now_s = self.house.clock.monotonic_s()
        if now_s - self._checked_s >= self._request.app.state.recheck_s:
            self._who = replace(await run_in_threadpool(again, self._request), told=None)
            self._checked_s = now_s
        return self._who

    def is_quiet(self) -> bool:
        """Whether it is time to say that the stream lives."""
        now_s = self.house.clock.monotonic_s()
        if now_s - self._told_s < QUIET_S:
            return False
        self._told_s = now_s
        return True


def _stream(request: Request, body: AsyncIterator[bytes]) -> StreamingResponse:
    told = _until_refused(request, body)
    return StreamingResponse(told, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})


async def _until_refused(request: Request, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream, and at its end what ended it early: its status was sent long ago."""
    try:
        async for each in body:
            yield each
    except Exception as error:
        made = known(error)
        if made.code is Code.INTERNAL:
            log.exception("a stream failed")
        await run_in_threadpool(record, request, made)
        said = {"code": made.code.text, "detail": made.message, "remedy": made.remedy}
        yield f"event: stopped\ndata: {json.dumps(said, separators=(',', ':'))}\n\n".encode()


def _message(id_: str, kind: str, data: Any) -> bytes:
    return f"id: {id_}\nevent: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
