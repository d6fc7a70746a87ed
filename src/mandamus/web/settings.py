"""Settings: who the visitor is and what they may where, and the people, groups and roles of the home."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.web.door import Pages, Visit

PEOPLE_MAX = 500

pages = Pages()


@pages.get("/settings", Permission.SYSTEM_READ)
def show_settings(visit: Visit) -> Response:
    """Who the visitor is, what they may, and the way to the other pages of settings."""
    who = visit.who
    places = {each: who.areas(each) for each in sorted(who.permissions, key=lambda one: one.value)}
    return visit.page("settings.html", places=places, home=visit.house.home.name)


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
