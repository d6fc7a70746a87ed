"""Builds the application: routes, errors, limits, and what is true of every response."""

from __future__ import annotations

from fastapi import FastAPI

from mandamus.api import audit, catalog, docs, evidence, identity, policy, problems, runs, streams, system
from mandamus.api.bodies import BodyLimit
from mandamus.api.door import check_routes
from mandamus.api.headers import Headers
from mandamus.api.house import House
from mandamus.api.hub import Hub
from mandamus.api.limits import Limits

PREFIX = "/api/v1"

VERSIONED = (
    runs.routes,
    streams.routes,
    catalog.routes,
    policy.routes,
    audit.routes,
    evidence.routes,
    identity.routes,
)


def build(house: House, version: str) -> FastAPI:
    """The application on an opened home; raises when a route declares no permission."""
    app = FastAPI(
        title="Mandamus",
        version=version,
        summary="Planned, allowed, approved, applied as approved, and provable.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.house = house
    app.state.limits = Limits(house.clock)
    app.state.hub = Hub(house)
    for routes in VERSIONED:
        routes.add_to(app, PREFIX)
    docs.routes.add_to(app)
    system.routes.add_to(app)
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Headers)
    check_routes(app)
    return app
