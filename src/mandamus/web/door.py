"""Page routes: each is bound to a permission, and who visits is known before anything of it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from mandamus.kernel.access import Permission, Subject, authorize
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.house import House
from mandamus.serving.where import where_of

PUBLIC = frozenset(
    {
        "/sign-in",
        "/sign-in/start",
        "/sign-in/callback",
        "/static/console.css",
        "/static/console.js",
        "/static/htmx.js",
        "/static/icon.svg",
    }
)
"""What anybody may have, by exact path: the way in, and files that are the same for everybody."""
FIELDS_MAX = 300
"""A workflow has at most 256 inputs, and its form some fields of its own."""


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is signed in and may use its route. ``form`` is what was posted."""

    request: Request
    house: House
    who: Subject
    form: Mapping[str, str]

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the question mark, without what was left empty."""
        return {name: value for name, value in self.request.query_params.items() if value}

    @property
    def path(self) -> Mapping[str, str]:
        """The parts of the path that have a name."""
        return cast("Mapping[str, str]", self.request.path_params)

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """The page of a template."""
        frame = {"who": self.who, "bell": self.waiting()}
        made: Response = self.renderer.page(self.request, template, status=status, **{**frame, **values})
        return made

    def part(self, template: str, **values: Any) -> Response:
        """A part of a page, which a script of the page puts in its place."""
        return HTMLResponse(self.renderer.part(template, who=self.who, **values))

    def text(self, words: str) -> Response:
        """A few words alone, for a script of a page."""
        return PlainTextResponse(words)

    def waiting(self) -> str | None:
        """How many runs wait for the visitor's word; empty for none, None for whoever has none to give."""
        count: str | None = self.request.app.state.bell.count(self.who)
        return count

    @property
    def renderer(self) -> Any:
        """What makes pages of templates."""
        return self.request.app.state.renderer


Page = Callable[[Visit], Response]
Stream = Callable[[Visit], Awaitable[Response]]
Anybody = Callable[[Request, Mapping[str, str]], Response]


class Pages:
    """The pages of one subject, to be added to an application."""

    def __init__(self) -> None:
        self._made: list[Route] = []

    def get(self, path: str, permission: Permission) -> Callable[[Page], Page]:
        """Bind a page to a route and a permission; whatever it does changes nothing."""
        return lambda page: self._bind("GET", path, permission, page)

    def post(self, path: str, permission: Permission) -> Callable[[Page], Page]:
        """Bind what a form does to a route and a permission; only forms of this console reach it."""
        return lambda page: self._bind("POST", path, permission, page)

    def stream(self, path: str, permission: Permission) -> Callable[[Stream], Stream]:
        """Bind a stream to a route and a permission."""

        def bind(page: Stream) -> Stream:
            async def endpoint(request: Request) -> Response:
                return await page(await run_in_threadpool(_enter, request, permission))

            self._add("GET", path, endpoint, permission)
            return page

        return bind

    def public(self, method: str, path: str) -> Callable[[Anybody], Anybody]:
        """Bind a function to a route for anybody; its path is one of `PUBLIC`."""

        def bind(page: Anybody) -> Anybody:
            async def endpoint(request: Request) -> Response:
                _check_origin(request)
                return await run_in_threadpool(page, request, await _form(request))

            self._add(method, path, endpoint, None)
            return page

        return bind

    def add_to(self, app: Starlette) -> None:
        """Have the application answer at these routes."""
        app.routes.extend(self._made)

    def _bind(self, method: str, path: str, permission: Permission, page: Page) -> Page:
        async def endpoint(request: Request) -> Response:
            _check_origin(request)
            # Nothing of a body is read before it is known who sent it.
            visit = await run_in_threadpool(_enter, request, permission)
            return await run_in_threadpool(page, replace(visit, form=await _form(request)))

        self._add(method, path, endpoint, permission)
        return page

    def _add(self, method: str, path: str, endpoint: Any, permission: Permission | None) -> None:
        endpoint.permission = permission
        self._made.append(Route(path, endpoint, methods=[method]))


def house_of(request: Request) -> House:
    """The home that this console is of."""
    return cast("House", request.app.state.house)


def secret_of(request: Request) -> str:
    """What the browser shows of its session, or nothing."""
    return request.cookies.get(request.app.state.cookie, "")


def see(*parts: str) -> Response:
    """Go on at a page of this console."""
    return RedirectResponse(path_of(*parts), 303)


def path_of(*parts: str) -> str:
    """The path of a page; whatever a part holds, it stays one part."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _enter(request: Request, permission: Permission) -> Visit:
    """Raises ``unauthenticated`` and ``forbidden``."""
    house, secret = house_of(request), secret_of(request)
    if not secret:
        raise MandamusError(Code.UNAUTHENTICATED, "you are not signed in", remedy="`mandamus login-link`")
    who = replace(house.sessions.authenticate(secret), where=where_of(request))
    request.app.state.limits.take(who.user)
    request.state.who = who
    authorize(who, permission)
    return Visit(request, house, who, {})


async def _form(request: Request) -> dict[str, str]:
    """The fields that were posted; raises ``usage`` for what is no form."""
    if request.method != "POST":
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise MandamusError(Code.USAGE, "a form is sent in another way", remedy="use the page's own form")
    try:
        fields = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise MandamusError(Code.USAGE, "a form that cannot be read", remedy="use the page's own form") from error
    return dict(fields)


def _check_origin(request: Request) -> None:
    """Raise ``forbidden`` for a form that no page of this very console sent.

    Both headers are set by the browser itself, out of reach of any page (Fetch standard; Fetch Metadata). A request
    without either comes from no browser of today, and has no business with a form.
    """
    if request.method != "POST":
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = origin is not None and urlsplit(origin)[:2] == (request.url.scheme, request.url.netloc)
    if (site is not None and site != "same-origin") or (origin is not None and not own) or (site is origin is None):
        raise MandamusError(
            Code.FORBIDDEN,
            "this form was not sent from a page of this console",
            remedy="open the page here and send it again",
            context={"permission": ""},
        )
