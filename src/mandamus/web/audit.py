"""The audit log: find events, look at one with its proof, and have all of it verified."""

from __future__ import annotations

import json

from starlette.responses import Response

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Outcome
from mandamus.audit.search_store import Wanted
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.web.door import Pages, Visit
from mandamus.web.runs import attachment

LIMIT = 50
FILTERS = ("actor", "kind", "resource", "run", "outcome", "text")

pages = Pages()


@pages.get("/audit", Permission.AUDIT_READ)
def list_events(visit: Visit) -> Response:
    """Events by filter, newest first; the search is an event itself."""
    filters = {name: value for name, value in visit.query.items() if name in FILTERS}
    outcome = filters.get("outcome")
    if outcome is not None and outcome not in set(Outcome):
        raise MandamusError(Code.VALUE_INVALID, "that is no outcome", remedy="choose one of the list")
    wanted = Wanted(
        actor=filters.get("actor"),
        kind=filters.get("kind"),
        resource=filters.get("resource"),
        run=filters.get("run"),
        outcome=outcome,
        text=filters.get("text"),
    )
    found = visit.house.audit.search.find(visit.who, wanted, before=_index(visit.query.get("cursor")), limit=LIMIT)
    return visit.page(
        "audit.html",
        hits=found.hits,
        following=found.before,
        filters=filters,
        kinds=[each.text for each in Kind],
        outcomes=[each.value for each in Outcome],
        report=None,
    )


@pages.get("/audit/{index}", Permission.AUDIT_READ)
def show_event(visit: Visit) -> Response:
    """One leaf, its proof, and the checkpoint that it is proved in."""
    found = visit.house.audit.search.show(visit.who, _leaf(visit))
    return visit.page(
        "leaf.html",
        shown=found,
        fields=json.dumps(found.fields, indent=2, ensure_ascii=False, default=str),
        proof=found.proof.decode(),
        note=found.checkpoint.note.decode(),
        vkey=visit.house.audit.vkey,
    )


@pages.get("/audit/{index}/proof", Permission.AUDIT_READ)
def download_proof(visit: Visit) -> Response:
    """The proof of one leaf as a file."""
    found = visit.house.audit.search.show(visit.who, _leaf(visit))
    name = f"leaf-{found.index}.tlog-proof"
    return Response(found.proof, media_type="text/plain; charset=utf-8", headers=attachment(name))


@pages.post("/audit/verify", Permission.AUDIT_VERIFY)
def verify(visit: Visit) -> Response:
    """Recompute the published log and the database from their bytes, now. That it was done is recorded."""
    report = visit.house.audit.verify(visit.who)
    head = visit.house.audit.search.newest(visit.who)
    return visit.page("verified.html", report=report, head=head, vkey=visit.house.audit.vkey)


def _leaf(visit: Visit) -> int:
    index = _index(visit.path["index"])
    assert index is not None  # noqa: S101 - a part of the path is never missing
    return index


def _index(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise MandamusError(Code.VALUE_INVALID, "that is no leaf of the log", remedy="it is a number, see the list")
    return int(text)
