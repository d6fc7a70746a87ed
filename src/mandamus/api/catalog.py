"""Routes of what may run and where."""

from __future__ import annotations

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel.access import Permission
from mandamus.wire import governance as wire
from mandamus.wire.base import Page

routes = Routes("catalog")


@routes.verb("GET", "/projects", Permission.ENVIRONMENT_READ)
def list_projects(house: TheHouse, who: Who) -> Page[wire.Project]:
    """Every registered project, by name."""
    return Page(items=[wire.project(each) for each in house.catalog.projects(who)])


@routes.verb("GET", "/environments", Permission.ENVIRONMENT_READ)
def list_environments(house: TheHouse, who: Who) -> Page[wire.Environment]:
    """The current version of every environment, by name."""
    return Page(items=[wire.environment(each) for each in house.catalog.environments(who)])


@routes.verb("GET", "/environments/{environment}", Permission.ENVIRONMENT_READ)
def get_environment(house: TheHouse, who: Who, environment: given.Environment) -> wire.Environment:
    """The current version of one environment."""
    return wire.environment(house.catalog.show_environment(who, environment))
