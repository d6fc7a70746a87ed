"""The audit log: find events, look at one with its proof, and have all of it verified."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from starlette.responses import Response

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Outcome
from mandamus.audit.search import LIMIT_MAX, Hit
from mandamus.audit.search_store import Wanted
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission
from mandamus.kernel.clock import moment_us, rfc3339
from mandamus.kernel.errors import Code, MandamusError
from mandamus.web.door import Pages, Visit
from mandamus.web.runs import attachment

LIMIT = 50
FILTERS = ("actor", "kind", "resource", "run", "outcome", "text", "project")
MOMENTS = ("since", "until")
EXPORT_MAX = 10_000
EXPORT_PAGES = 20
FORMS = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

pages = Pages()


@pages.get("/audit", Permission.AUDIT_READ)
def list_events(visit: Visit) -> Response:
    """Events by filter, newest first; the search is an event itself."""
    filters, wanted = _wanted(visit)
    found = visit.house.audit.search.find(visit.who, wanted, before=_index(visit.query.get("cursor")), limit=LIMIT)
    return visit.page(
        "audit.html",
        hits=found.hits,
        following=found.before,
        filters=filters,
        kinds=[each.text for each in Kind],
        outcomes=[each.value for each in Outcome],
        standing=visit.house.audit.search.standing(visit.who),
        may_verify=visit.who.may(Permission.AUDIT_VERIFY),
        export_max=EXPORT_MAX,
    )


@pages.get("/audit/export", Permission.AUDIT_READ)
def export_events(visit: Visit) -> Response:
    """What a search finds as a file, newest first: whole leaves a line each, or a table; the search is recorded.

    Its name says `part` when there is more than fits.
    """
    _, wanted = _wanted(visit)
    form = visit.query.get("format", "ndjson")
    if form not in FORMS:
        raise MandamusError(Code.VALUE_INVALID, "that is no form of a file", remedy="it is ndjson or csv")
    hits: list[Hit] = []
    before: int | None = None
    for _ in range(EXPORT_PAGES):
        found = visit.house.audit.search.find(visit.who, wanted, before=before, limit=LIMIT_MAX)
        hits += found.hits
        before = found.before
        if before is None or len(hits) >= EXPORT_MAX:
            break
    text = _table(hits) if form == "csv" else _lines(hits)
    name = f"audit{'' if before is None else '-part'}.{form}"
    return Response(text, media_type=FORMS[form], headers=attachment(name))


@pages.get("/audit/checkpoint", Permission.AUDIT_VERIFY)
def download_checkpoint(visit: Visit) -> Response:
    """The newest checkpoint as a file: a signed note, with everything in it that was committed."""
    note = visit.house.audit.search.newest(visit.who).note
    return Response(note, media_type="text/plain; charset=utf-8", headers=attachment("checkpoint"))


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


def _wanted(visit: Visit) -> tuple[dict[str, str], Wanted]:
    """The filters that stand in the address, and what they mean; raises ``value_invalid``."""
    filters = {name: value for name, value in visit.query.items() if name in (*FILTERS, *MOMENTS)}
    outcome = filters.get("outcome")
    if outcome is not None and outcome not in set(Outcome):
        raise MandamusError(Code.VALUE_INVALID, "that is no outcome", remedy="choose one of the list")
    days = {name: moment_us(filters[name]) for name in MOMENTS if name in filters}
    wanted = Wanted(
        actor=filters.get("actor"),
        kind=filters.get("kind"),
        resource=filters.get("resource"),
        run=filters.get("run"),
        outcome=outcome,
        since=days.get("since"),
        until=days.get("until"),
        text=filters.get("text"),
        project=filters.get("project"),
    )
    return filters, wanted


def _lines(hits: Sequence[Hit]) -> str:
    return "".join(canonical.dumps({"index": hit.index, "leaf": hit.fields}).decode() + "\n" for hit in hits)


def _table(hits: Sequence[Hit]) -> str:
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(("index", "at", "kind", "who", "type", "id", "run", "step", "outcome", "why"))
    for hit in hits:
        leaf = hit.fields
        what = (leaf["who"]["subject"], leaf["what"]["type"], leaf["what"]["id"], leaf["run"] or "", leaf["step"] or "")
        row = (str(hit.index), rfc3339(leaf["at"]), leaf["kind"], *what, leaf["outcome"], leaf["why"])
        writer.writerow(map(_cell, row))
    return made.getvalue()


def _cell(text: str) -> str:
    """A cell that no program for tables takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


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
