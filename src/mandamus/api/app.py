"""Builds the application: routes, errors, limits, and what is true of every response."""

from __future__ import annotations

from fastapi import FastAPI

from mandamus.api import (
    access,
    audit,
    catalog,
    device,
    docs,
    evidence,
    exchange,
    identity,
    notify,
    policy,
    problems,
    runs,
    scim,
    streams,
    system,
)
from mandamus.api.door import PUBLIC
from mandamus.api.scim_forms import PREFIX as SCIM
from mandamus.serving.bodies import BodyLimit
from mandamus.serving.headers import Headers
from mandamus.serving.house import House
from mandamus.serving.hub import Hub
from mandamus.serving.limits import Limits
from mandamus.serving.routes import check_routes

PREFIX = "/api/v1"

VERSIONED = (
    runs.routes,
    streams.routes,
    catalog.routes,
    policy.routes,
    audit.routes,
    evidence.routes,
    identity.routes,
    access.routes,
    device.routes,
    exchange.routes,
    notify.routes,
)


RECHECK_S = 20.0
"""How often it is looked at whether the reader of a stream still may: well within the minute a revocation has."""


def build(house: House, version: str, hub: Hub, *, recheck_s: float = RECHECK_S) -> FastAPI:
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
    app.state.attempts = house.attempts
    app.state.hub = hub
    app.state.recheck_s = recheck_s
    for routes in VERSIONED:
        routes.add_to(app, PREFIX)
    scim.routes.add_to(app, SCIM)
    docs.routes.add_to(app)
    system.routes.add_to(app)
    problems.install(app)
    app.add_middleware(BodyLimit, refusal=problems.problem)
    app.add_middleware(Headers)
    check_routes(app, PUBLIC)
    return app
