"""Settings of access: the visitor's own sessions, roles and grants, and the review of who may what."""

from __future__ import annotations

import json

from starlette.responses import Response

from mandamus.identity.grants import BUILT_IN
from mandamus.identity.model import Session
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.web.door import Pages, Visit, see
from mandamus.web.runs import attachment

ROWS_MAX = 1_000

pages = Pages()


@pages.get("/settings/sessions", Permission.TOKEN_WRITE)
def list_sessions(visit: Visit) -> Response:
    """The visitor's sessions that go on, newest first."""
    return visit.page("sessions.html", sessions=visit.house.kill_switch.sessions(visit.who))


@pages.get("/settings/sessions/{session}/end", Permission.TOKEN_WRITE)
def ask_end(visit: Visit) -> Response:
    """Say what ending a session means, before it is done."""
    return visit.page("end.html", what="session", of=_own(visit))


@pages.post("/settings/sessions/{session}/end", Permission.TOKEN_WRITE)
def end(visit: Visit) -> Response:
    """End a session at once, be it this one."""
    visit.house.kill_switch.end(visit.who, _own(visit).id)
    return see("settings", "sessions")


@pages.get("/settings/sessions/end-all", Permission.TOKEN_WRITE)
def ask_end_all(visit: Visit) -> Response:
    """Say what ending everything means, before it is done."""
    return visit.page("end.html", what="all", of=None)


@pages.post("/settings/sessions/end-all", Permission.TOKEN_WRITE)
def end_all(visit: Visit) -> Response:
    """End every session, token and link of the visitor at once, this session too."""
    visit.house.kill_switch.end_own(visit.who)
    return see("sign-in")


@pages.get("/settings/roles", Permission.IDENTITY_READ)
def list_roles(visit: Visit) -> Response:
    """Roles with their permissions, and grants of them: to whom, where, when."""
    granting = visit.house.granting
    built_in = {name: sorted(each.value for each in permissions) for name, permissions in BUILT_IN.items()}
    return visit.page(
        "roles.html",
        built_in=built_in,
        roles=granting.roles(visit.who),
        grants=granting.grants(visit.who)[:ROWS_MAX],
        now_us=visit.house.clock.now_us(),
        reviews=visit.who.everywhere(Permission.AUDIT_READ_ALL),
    )


@pages.get("/settings/access-review", Permission.AUDIT_READ_ALL)
def show_review(visit: Visit) -> Response:
    """Who may do what and who may approve what, now; that it was read is recorded."""
    return visit.page("review.html", review=visit.house.access_review.review(visit.who), most=ROWS_MAX)


@pages.get("/settings/access-review.csv", Permission.AUDIT_READ_ALL)
def download_review(visit: Visit) -> Response:
    """The same as a table for a spreadsheet."""
    made = visit.house.access_review.review(visit.who)
    return Response(made.to_csv(), media_type="text/csv; charset=utf-8", headers=attachment("access-review.csv"))


@pages.get("/settings/access-review.json", Permission.AUDIT_READ_ALL)
def download_review_json(visit: Visit) -> Response:
    """The same as JSON."""
    text = json.dumps(visit.house.access_review.review(visit.who).to_json(), indent=1, ensure_ascii=False)
    return Response(text, media_type="application/json", headers=attachment("access-review.json"))


def _own(visit: Visit) -> Session:
    for each in visit.house.kill_switch.sessions(visit.who):
        if each.id == visit.path["session"]:
            return each
    raise MandamusError(Code.NOT_FOUND, "there is no such session of yours", remedy="go back to the list of them")
