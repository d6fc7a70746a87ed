"""Signing in by a one-time link, and signing out."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.kernel.errors import MandamusError
from mandamus.web.door import Pages, Visit, house_of, secret_of, see

COST = 20.0
"""One try to sign in counts as so many pages."""

pages = Pages()


@pages.public("GET", "/sign-in")
def show_sign_in(request: Request, _form: Mapping[str, str]) -> Response:
    """The way in. A link only leads here: nothing is used up before somebody says so."""
    return _page(request, request.query_params.get("link", ""))


@pages.public("POST", "/sign-in")
def sign_in(request: Request, form: Mapping[str, str]) -> Response:
    """Use the link up, and give the browser a session."""
    client = request.client.host if request.client else ""
    request.app.state.limits.take(f"sign-in {client}", COST)
    try:
        opened = house_of(request).sessions.open(form.get("link", ""), secret_of(request) or None)
    except MandamusError as error:
        return _page(request, "", error)
    found = see()
    found.set_cookie(
        request.app.state.cookie,
        opened.secret,
        path="/",
        secure=request.app.state.secure,
        httponly=True,
        samesite="strict",
    )
    return found


@pages.post("/sign-out", Permission.SYSTEM_READ)
def sign_out(visit: Visit) -> Response:
    """End the session, here and on the server."""
    visit.house.sessions.end(secret_of(visit.request))
    found = see("sign-in")
    state = visit.request.app.state
    found.delete_cookie(state.cookie, path="/", secure=state.secure, httponly=True, samesite="strict")
    return found


def _page(request: Request, link: str, error: MandamusError | None = None) -> Response:
    status = 200 if error is None else error.code.http_status
    found: Response = request.app.state.renderer.page(
        request, "sign-in.html", status=status, who=None, link=link, error=error
    )
    return found
