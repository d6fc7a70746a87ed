"""Builds the console: pages, files, errors, limits, and what is true of every answer."""

from __future__ import annotations

from starlette.applications import Starlette

from mandamus.kernel.ids import Entropy
from mandamus.serving.bodies import BodyLimit
from mandamus.serving.headers import Headers
from mandamus.serving.house import House
from mandamus.serving.hub import Hub
from mandamus.serving.limits import Limits
from mandamus.serving.routes import check_routes
from mandamus.web import (
    audit,
    bulk,
    catalog,
    decide,
    device,
    environments,
    errors,
    files,
    frame,
    home,
    live,
    log,
    policy,
    policy_sets,
    request,
    run,
    runs,
    search,
    settings,
    settings_access,
    settings_notify,
    settings_tokens,
    settle,
    sign_in,
    workflows,
)
from mandamus.web.bell import Bell
from mandamus.web.door import PUBLIC
from mandamus.web.render import Renderer
from mandamus.web.trials import Trials

PAGES = (
    sign_in.pages,
    home.pages,
    frame.pages,
    search.pages,
    bulk.pages,
    runs.pages,
    run.pages,
    live.pages,
    log.pages,
    decide.pages,
    device.pages,
    catalog.pages,
    request.pages,
    workflows.pages,
    settle.pages,
    settings.pages,
    settings_tokens.pages,
    settings_access.pages,
    settings_notify.pages,
    audit.pages,
    policy.pages,
    policy_sets.pages,
    environments.pages,
    files.pages,
)


def build(house: House, hub: Hub, entropy: Entropy, *, secure: bool, version: str = "") -> Starlette:
    """The console on an opened home; raises when a page declares no permission.

    ``secure`` says that it is reached by TLS alone, so that its cookie may be bound to that; ``version`` is shown.
    """
    app = Starlette()
    app.router.redirect_slashes = False
    app.state.house = house
    app.state.hub = hub
    app.state.limits = Limits(house.clock)
    app.state.bell = Bell(house)
    app.state.attempts = house.attempts
    app.state.trials = Trials()
    app.state.renderer = Renderer(house.clock, entropy)
    app.state.secure = secure
    app.state.version = version
    app.state.cookie = "__Host-mandamus" if secure else "mandamus"
    for pages in PAGES:
        pages.add_to(app)
    errors.install(app)
    app.add_middleware(BodyLimit, refusal=errors.plain)
    app.add_middleware(Headers)
    check_routes(app, PUBLIC)
    return app
