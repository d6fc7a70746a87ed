"""Environments and projects: what may run where, who judges it, and who is asked."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.runs.model import Wanted
from mandamus.web.door import Pages, Visit

pages = Pages()


@pages.get("/environments", Permission.ENVIRONMENT_READ)
def list_environments(visit: Visit) -> Response:
    """The current version of every environment, by name; of a secret only where it comes from."""
    found = visit.house.catalog.environments(visit.who)
    last = {each.name: visit.house.runs.list(visit.who, Wanted(environment=each.name), limit=1) for each in found}
    return visit.page(
        "environments.html", environments=found, last=last, projects=visit.house.catalog.projects(visit.who)
    )
