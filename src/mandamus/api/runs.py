"""Routes of runs: ask, look, decide, stop, try again, settle."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Query, Request, Response
from fastapi.responses import PlainTextResponse

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.api.etag import answer
from mandamus.api.once import once
from mandamus.kernel import ids
from mandamus.kernel.access import Permission
from mandamus.kernel.ids import Digest, RunId
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Request as Asked
from mandamus.runs.model import Wanted
from mandamus.wire import runs as wire
from mandamus.wire.base import Page, micros_or_none

LIMIT = 50
LIMIT_MAX = 200
TEXT_LENGTH_MAX = 200

routes = Routes("runs")

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Send the same key again to be answered the same; nothing is done twice.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]


@routes.verb("GET", "/runs", Permission.RUN_READ)
def list_runs(
    house: TheHouse,
    who: Who,
    *,
    state: RunState | None = None,
    environment: str | None = None,
    project: str | None = None,
    workflow: str | None = None,
    requester: str | None = None,
    since: given.Moment = None,
    until: given.Moment = None,
    text: Annotated[str | None, Query(max_length=TEXT_LENGTH_MAX)] = None,
    cursor: str | None = None,
    limit: Limit = LIMIT,
) -> Page[wire.Run]:
    """Runs, newest first; ``text`` is looked for in id, workflow, ticket and reason.

    A page that looks for a text may hold few runs, or none, and still name the next one.
    """
    since_us, until_us = (micros_or_none(each) for each in (since, until))
    wanted = Wanted(state, environment, project, workflow, requester, since_us, until_us, text)
    before = None if cursor is None else RunId(ids.parse("run", cursor))
    found = house.runs.find(who, wanted, before=before, limit=limit)
    return Page(items=[wire.run(each) for each in found.runs], next=found.before)


@routes.verb("POST", "/runs", Permission.RUN_REQUEST, status_code=201)
def request_run(
    request: Request, response: Response, house: TheHouse, who: Who, body: wire.NewRun, key: Key = None
) -> wire.RunDetail:
    """Ask for a run. It goes on by itself; policy's no is the state of the run that is given back."""

    def ask() -> wire.RunDetail:
        root = house.catalog.root_of(who, body.project)
        asked = Asked(body.workflow, body.environment, body.inputs, body.reason, plan_only=body.plan_only)
        made = house.runs.request(who, root, asked)
        return wire.detail(house.runs.show(who, made.id))

    made = once(request, who, key, body, ask, wire.RunDetail)
    response.headers["Location"] = f"{request.url.path}/{made.id}"
    return made


@routes.verb("GET", "/runs/{run}", Permission.RUN_READ, response_model=wire.RunDetail)
def get_run(
    house: TheHouse,
    who: Who,
    run: given.Run,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match")] = None,
) -> Response:
    """One run with its steps, what was decided, and who is still asked."""
    return answer(wire.detail(house.runs.show(who, _id(run))), if_none_match)


@routes.verb("GET", "/runs/{run}/steps/{step}/change-set", Permission.RUN_READ)
def get_change_set(house: TheHouse, who: Who, run: given.Run, step: given.Step) -> dict[str, Any]:
    """What the step would change, in the schema of every tool; empty while it is not planned."""
    return house.runs.change_set(who, _id(run), step)


@routes.verb("GET", "/runs/{run}/steps/{step}/log", Permission.RUN_READ, response_class=PlainTextResponse)
def get_log(
    house: TheHouse,
    who: Who,
    run: given.Run,
    step: given.Step,
    *,
    phase: given.Phase = "apply",
    attempt: given.Attempt = None,
    offset: given.Offset = 0,
) -> Response:
    """What the step printed, from a byte offset, without secrets; the header ``Next-Offset`` is where to go on."""
    piece = house.runs.logs(who, _id(run), step, phase=phase, attempt=attempt, offset=offset)
    headers = {"Next-Offset": str(piece.next_offset), "Log-Done": "true" if piece.done else "false"}
    return Response(piece.data, media_type="text/plain; charset=utf-8", headers=headers)


@routes.verb("POST", "/runs/{run}/approve", Permission.RUN_DECIDE)
def approve_run(
    request: Request, house: TheHouse, who: Who, run: given.Run, body: wire.Decide, key: Key = None
) -> wire.Approval:
    """Say yes to the digest that was looked at. Nobody approves what they made."""
    return once(request, who, key, body, lambda: _decided(house, who, run, body, yes=True), wire.Approval)


@routes.verb("POST", "/runs/{run}/reject", Permission.RUN_DECIDE)
def reject_run(
    request: Request, house: TheHouse, who: Who, run: given.Run, body: wire.Decide, key: Key = None
) -> wire.Approval:
    """Say no; the step ends rejected."""
    return once(request, who, key, body, lambda: _decided(house, who, run, body, yes=False), wire.Approval)


@routes.verb("POST", "/runs/{run}/cancel", Permission.RUN_CANCEL)
def cancel_run(house: TheHouse, who: Who, run: given.Run, body: wire.Why) -> wire.Run:
    """Stop a run: what waits ends at once, what runs is told to stop. What was applied stays applied."""
    return wire.run(house.runs.cancel(who, _id(run), reason=body.reason))


@routes.verb("POST", "/runs/{run}/retry", Permission.RUN_RETRY)
def retry_run(house: TheHouse, who: Who, run: given.Run, body: wire.Why) -> wire.Run:
    """Try the steps that stopped a run again, and those after them."""
    return wire.run(house.runs.retry(who, _id(run), reason=body.reason))


@routes.verb("POST", "/runs/{run}/steps/{step}/settle", Permission.RUN_SETTLE)
def settle_step(house: TheHouse, who: Who, run: given.Run, step: given.Step, body: wire.Settle) -> wire.Run:
    """Say what became of an effect that nobody knows the end of; the run goes on from it."""
    return wire.run(house.runs.settle(who, _id(run), step, body.outcome, reason=body.reason))


@routes.verb("GET", "/drift", Permission.RUN_READ)
def list_drift(house: TheHouse, who: Who) -> Page[wire.Drifted]:
    """What the newest plan of each workflow in each environment found changed outside, of the newest 200 runs."""
    return Page(items=[wire.drifted(each) for each in house.runs.drifted(who)])


@routes.verb("GET", "/inbox", Permission.RUN_READ)
def list_inbox(house: TheHouse, who: Who, cursor: str | None = None, limit: Limit = LIMIT) -> Page[wire.RunDetail]:
    """Runs that wait for the caller's own word, newest first."""
    before = None if cursor is None else RunId(ids.parse("run", cursor))
    found = house.runs.inbox(who, before=before, limit=limit + 1)
    page = found[:limit]
    return Page(items=[wire.detail(view) for view in page], next=page[-1].run.id if len(found) > limit else None)


def _decided(house: TheHouse, who: Who, run: str, body: wire.Decide, *, yes: bool) -> wire.Approval:
    decide = house.runs.approve if yes else house.runs.reject
    bound = Digest(body.binding)
    return wire.approval(decide(who, _id(run), step=body.step, reason=body.reason, group=body.group, binding=bound))


def _id(text: str) -> RunId:
    return RunId(ids.parse("run", text))
