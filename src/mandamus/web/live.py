"""The one stream of a run's page: whenever something happens to the run, its part of the page comes anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from mandamus.kernel.access import Permission
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RunState
from mandamus.web import run, runs
from mandamus.web.door import Pages, Visit, secret_of

CHECK_S = 15.0
"""How often it is asked whether the session goes on; everyone between hears then that the stream lives."""
LOOK_S = 0.5
"""How often it looks for output, which is no event, while a run goes on."""

pages = Pages()


@pages.stream("/runs/{run}/live", Permission.RUN_READ)
async def follow(visit: Visit) -> Response:
    """Parts of the page, each whole, until the run is closed and has its evidence; ``end`` is the last event."""
    run_id = runs.run_of(visit)
    await run_in_threadpool(visit.house.runs.show, visit.who, run_id)
    headers = {"X-Accel-Buffering": "no"}
    # That somebody follows is told once, of those whose reads are recorded: each record is an event and wakes us.
    quiet = replace(visit, who=replace(visit.who, told=None))
    return StreamingResponse(_parts(quiet, run_id), media_type="text/event-stream", headers=headers)


async def _parts(visit: Visit, run_id: RunId) -> AsyncIterator[bytes]:
    after, sent, output = -1, "", -1
    clock = visit.house.clock
    checked_s = clock.monotonic_s()
    state = _State(runs=True, sealing=False, over=False)
    async with visit.request.app.state.hub.follower() as follower:
        while True:
            # Asked before the part is made: what comes between the two is then in it, or makes another.
            found = await run_in_threadpool(visit.house.runs.events, visit.who, run_id, after)
            newest = await run_in_threadpool(visit.house.runs.newest_output)
            if found or state.sealing or (state.runs and newest != output):
                output = newest
                after = max((leaf["seq"] for leaf in found), default=after)
                part, state = await run_in_threadpool(_part, visit, run_id)
                if part != sent:
                    sent = part
                    yield _message(part)
            if state.over:
                yield b"event: end\ndata: over\n\n"
                return
            await follower.woken(LOOK_S)
            if clock.monotonic_s() - checked_s >= CHECK_S:
                checked_s = clock.monotonic_s()
                yield b": still here\n\n"
                try:
                    # A stream ends with the session it was opened in, and with the right to read its run.
                    visit = await run_in_threadpool(_again, visit, run_id)
                except MandamusError:
                    return


@dataclass(frozen=True)
class _State:
    """What may change without an event: while it ``runs`` its output, while it is ``sealing`` where its proof is."""

    runs: bool
    sealing: bool
    over: bool


def _again(visit: Visit, run_id: RunId) -> Visit:
    """The same with what the visitor may now; raises when they may not go on."""
    found = visit.house.sessions.authenticate(secret_of(visit.request), seen=False)
    who = replace(found, where=visit.who.where, told=None)
    visit.house.runs.glance(who, run_id)
    return replace(visit, who=who)


def _part(visit: Visit, run_id: RunId) -> tuple[str, _State]:
    found = run.values(visit, run_id)
    made = found["run"]
    sealed = made.evidence is not None
    state = _State(made.state is RunState.RUNNING, found["closed"] and not sealed, found["closed"] and sealed)
    return visit.renderer.part("_run.html", who=visit.who, **found), state


def _message(part: str) -> bytes:
    return "".join(f"data: {line}\n" for line in part.splitlines()).encode() + b"\n"
