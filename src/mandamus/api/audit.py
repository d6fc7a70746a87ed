"""Routes of the audit log: find events, prove one, and verify all of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from mandamus.api.door import Routes, TheHouse, Who
from mandamus.api.given import Index, Moment, number
from mandamus.audit.model import Outcome
from mandamus.audit.search_store import Wanted
from mandamus.kernel.access import Permission
from mandamus.wire import governance as wire
from mandamus.wire.base import Page, micros_or_none

LIMIT = 50
LIMIT_MAX = 1_000

routes = Routes("audit")


@routes.verb("GET", "/audit/events", Permission.AUDIT_READ)
def list_events(
    house: TheHouse,
    who: Who,
    *,
    actor: str | None = None,
    kind: str | None = None,
    resource: str | None = None,
    run: str | None = None,
    outcome: Outcome | None = None,
    text: str | None = None,
    since: Moment = None,
    until: Moment = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT,
) -> Page[wire.Event]:
    """Events the caller may read, newest first; the search is an event itself."""
    wanted = Wanted(
        actor=actor,
        kind=kind,
        resource=resource,
        run=run,
        outcome=outcome,
        since=micros_or_none(since),
        until=micros_or_none(until),
        text=text,
    )
    found = house.audit.search.find(who, wanted, before=number(cursor, None, "the cursor"), limit=limit)
    following = None if found.before is None else str(found.before)
    return Page(items=[wire.event(hit) for hit in found.hits], next=following)


@routes.verb("GET", "/audit/events/{index}", Permission.AUDIT_READ)
def get_event(house: TheHouse, who: Who, index: Index) -> wire.Proven:
    """One leaf, byte for byte, with its proof and the checkpoint that it is proved in."""
    return wire.proven(house.audit.search.show(who, index))


@routes.verb("GET", "/audit/standing", Permission.AUDIT_READ)
def get_standing(house: TheHouse, who: Who) -> wire.Standing:
    """How the log stands: its newest checkpoint, what waits for the next, and what witnesses and anchors have."""
    return wire.standing(house.audit.search.standing(who))


@routes.verb("GET", "/audit/checkpoint", Permission.AUDIT_VERIFY)
def get_checkpoint(house: TheHouse, who: Who) -> wire.Checkpoint:
    """The newest signed checkpoint, and the key that verifies it."""
    return wire.checkpoint(house.audit.search.newest(who), house.audit.vkey)


@routes.verb("POST", "/audit/verify", Permission.AUDIT_VERIFY)
def verify_audit(house: TheHouse, who: Who) -> wire.Report:
    """Recompute the published log and the database from their bytes. That it was done is recorded."""
    return wire.report(house.audit.verify(who))
