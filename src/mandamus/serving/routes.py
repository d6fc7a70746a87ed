"""No route without a permission: what a door declares of its routes, asked when a server starts and at each request."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError


def check_routes(app: Starlette, public: Collection[str]) -> None:
    """Refuse to start with a route that is neither public by its exact path nor bound to a permission."""
    for route in app.routes:
        if not (isinstance(route, Route) and route.path in public):
            permission_of(route)


def permission_of(route: BaseRoute) -> Permission:
    """What a route needs; raises ``internal`` for one that declares none."""
    found = getattr(getattr(route, "endpoint", None), "permission", None)
    if isinstance(found, Permission):
        return found
    raise MandamusError(
        Code.INTERNAL,
        f"the route {getattr(route, 'path', route)} declares no permission",
        remedy="bind it to one where the door's other routes are bound, or name it in PUBLIC",
    )
