"""Settings: who the visitor is and what they may where, the people and groups of the home, and the server itself."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.audit.kinds import Kind
from mandamus.kernel.access import Permission
from mandamus.web.door import Pages, Visit

PEOPLE_MAX = 500

pages = Pages()


@pages.get("/settings", Permission.SYSTEM_READ)
def show_settings(visit: Visit) -> Response:
    """Who the visitor is, what they may, and the way to the other pages of settings."""
    who = visit.who
    places = {each: who.areas(each) for each in sorted(who.permissions, key=lambda one: one.value)}
    return visit.page("settings.html", places=places)


@pages.get("/settings/people", Permission.IDENTITY_READ)
def list_people(visit: Visit) -> Response:
    """Users and groups as they are declared; without addresses."""
    users, groups = visit.house.identity.users(visit.who), visit.house.identity.groups(visit.who)
    words = visit.query.get("text", "").casefold()
    found = [each for each in users if words in f"{each.name} {each.display_name}".casefold()]
    member = {each.name: [group.name for group in groups if each.name in group.members] for each in found}
    return visit.page(
        "people.html",
        users=found[:PEOPLE_MAX],
        more=max(len(found) - PEOPLE_MAX, 0),
        groups=groups,
        member=member,
        text=visit.query.get("text", ""),
    )


@pages.get("/settings/server", Permission.SYSTEM_READ)
def show_server(visit: Visit) -> Response:
    """What runs here, and what governs it; that is told to whoever may read all of the log, where it stands too."""
    reads = visit.who.everywhere(Permission.AUDIT_READ)
    governs = visit.house.audit.told(Kind.HOME_CONFIGURED)[-1:] if reads else []
    return visit.page(
        "server.html",
        version=visit.request.app.state.version,
        engine=visit.house.is_engine,
        key=visit.house.audit.vkey,
        secure=visit.request.app.state.secure,
        lag_s=visit.house.audit.lag_s(),
        reads=reads,
        governs=governs[0]["data"]["now"] if governs else {},
    )
