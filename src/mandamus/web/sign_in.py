"""Signing in by a one-time link or by the identity provider, doing so again before an approval, and signing out.

The session's cookie is `SameSite=Strict`, so a browser does not send it with what another site leads to, and the
provider is one. What comes back from there therefore gets a page of our own, which leads on by itself, without scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mandamus.identity.oidc import FLOW_S
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.tries import counted, source_of
from mandamus.web.door import Pages, Visit, house_of, secret_of, see
from mandamus.web.frame import own_address

COST = 20.0
"""One try to sign in counts as so many pages."""
REFUSALS = frozenset({Code.UNAUTHENTICATED, Code.UNAVAILABLE, Code.NOT_FOUND, Code.SECRET_MISSING})
"""What keeps somebody from coming in by the provider, said on the page where they can try again."""

pages = Pages()


@pages.public("GET", "/sign-in")
def show_sign_in(request: Request, _form: Mapping[str, str]) -> Response:
    """The way in. A link only leads here: nothing is used up before somebody says so."""
    return _page(request, request.query_params.get("link", ""))


@pages.public("POST", "/sign-in")
def sign_in(request: Request, form: Mapping[str, str]) -> Response:
    """Use the link up, or look at the owner's password, and give the browser a session."""
    _take(request)
    house, before = house_of(request), secret_of(request) or None
    try:
        if "password" in form:
            with counted(request, "password", house.identity.owner() or ""):
                opened = house.passwords.open(form["password"], before)
        else:
            with counted(request, "link"):
                opened = house.sessions.open(form.get("link", ""), before)
    except MandamusError as error:
        return _page(request, "", error)
    found = RedirectResponse(own_address(form.get("then", "/")), 303)
    _keep(request, found, opened.secret)
    return found


@pages.public("GET", "/sign-in/start")
def start(request: Request, _form: Mapping[str, str]) -> Response:
    """Go to the provider. The page is no form's: a browser follows no form to another site here."""
    _take(request)
    try:
        begun = house_of(request).sign_ins.begin(own_address(request.query_params.get("then", "/")), secret_of(request))
    except MandamusError as error:
        return _refusal(request, error)
    return _to_provider(request, begun.url, begun.kept)


@pages.get("/sign-in/again", Permission.RUN_DECIDE)
def again(visit: Visit) -> Response:
    """Go to the provider to show it once more who one is, as an environment asks for."""
    _take(visit.request)
    environment = visit.house.catalog.show_environment(visit.who, visit.query.get("environment", ""))
    if environment.step_up is None:
        raise MandamusError(Code.NOT_FOUND, f"{environment.name} does not ask for that", remedy="go back")
    then = own_address(visit.query.get("then", "/"))
    try:
        begun = visit.house.sign_ins.begin(then, secret_of(visit.request), environment.step_up)
    except MandamusError as error:
        return _refusal(visit.request, error)
    return _to_provider(visit.request, begun.url, begun.kept)


@pages.public("GET", "/sign-in/callback")
def come_back(request: Request, _form: Mapping[str, str]) -> Response:
    """Take what the provider sent the browser back with, and give it a session."""
    _take(request)
    given = dict(request.query_params)
    # Of two values, another server on the way may have looked at the other one.
    single = len(given) == len(request.query_params.multi_items())
    try:
        with counted(request, "callback"):
            kept = request.cookies.get(_flow(request), "")
            finished = house_of(request).sign_ins.finish(given if single else {}, kept)
    except MandamusError as error:
        return _forget_flow(request, _refusal(request, error))
    found = _onward(request, finished.path, "You are signed in")
    _keep(request, found, finished.opened.secret)
    return _forget_flow(request, found)


@pages.post("/sign-out", Permission.SYSTEM_READ)
def sign_out(visit: Visit) -> Response:
    """End the session, here and on the server, and lead to where the provider ends its own if it brought it."""
    secret = secret_of(visit.request)
    provider = visit.house.sign_ins.goodbye(secret)
    visit.house.sessions.end(secret)
    found = see("sign-in") if provider is None else _onward(visit.request, provider, "You are signed out here")
    state = visit.request.app.state
    found.delete_cookie(state.cookie, path="/", secure=state.secure, httponly=True, samesite="strict")
    return found


def _take(request: Request) -> None:
    request.app.state.limits.take(f"sign-in {source_of(request)}", COST)


def _flow(request: Request) -> str:
    """The name of the cookie of a sign-in under way."""
    return f"{request.app.state.cookie}-flow"


def _keep(request: Request, found: Response, secret: str) -> None:
    state = request.app.state
    found.set_cookie(state.cookie, secret, path="/", secure=state.secure, httponly=True, samesite="strict")


def _to_provider(request: Request, url: str, kept: str) -> Response:
    found = RedirectResponse(url, 303)
    secure = request.app.state.secure
    # Lax: it has to come along when the provider sends the browser back. It is good for that one sign-in.
    found.set_cookie(_flow(request), kept, FLOW_S, path="/", secure=secure, httponly=True, samesite="lax")
    return found


def _forget_flow(request: Request, found: Response) -> Response:
    secure = request.app.state.secure
    found.delete_cookie(_flow(request), path="/", secure=secure, httponly=True, samesite="lax")
    return found


def _onward(request: Request, where: str, says: str) -> Response:
    """A page that leads on by itself. The address it stands at holds a code, which goes nowhere from here."""
    found: Response = request.app.state.renderer.page(request, "onward.html", who=None, where=where, says=says)
    found.headers["Referrer-Policy"] = "no-referrer"
    return found


def _refusal(request: Request, error: MandamusError) -> Response:
    if error.code not in REFUSALS:
        raise error
    return _page(request, "", error)


def _page(request: Request, link: str, error: MandamusError | None = None) -> Response:
    status = 200 if error is None else error.code.http_status
    then = own_address(request.query_params.get("then", "/"))
    declared = house_of(request).sign_ins.declared()
    values: dict[str, Any] = {
        "link": link,
        "error": error,
        "then": then,
        "password": house_of(request).passwords.is_set(),
        "start": f"/sign-in/start?{urlencode({'then': then})}",
    }
    found: Response = request.app.state.renderer.page(
        request, "sign-in.html", status=status, who=None, provider=declared.shown if declared else None, **values
    )
    return found
