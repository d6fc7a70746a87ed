"""Routes: each is bound to a permission, and who calls is known before anything of it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, FastAPI, Header, Request
from fastapi.security import HTTPBearer

from mandamus.api.problems import RESPONSES
from mandamus.audit.forms import TICKET_PATTERN
from mandamus.kernel.access import Permission, Subject, authorize
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.house import House
from mandamus.serving.routes import permission_of
from mandamus.serving.tries import counted
from mandamus.serving.where import where_of

PUBLIC = frozenset(
    {
        "/healthz",
        "/readyz",
        "/version",
        "/api/v1/device/code",
        "/api/v1/device/token",
        "/api/v1/device/revoke",
        "/api/v1/token-exchange",
    }
)
"""What anybody may ask, by exact path: it says nothing of what runs, and lets nobody in by itself."""

E = TypeVar("E", bound=Callable[..., Any])

_bearer = HTTPBearer(auto_error=False, description="A token made with `mandamus token create`.")


def house_of(request: Request) -> House:
    """The home that this server is of."""
    return cast("House", request.app.state.house)


Ticket = Annotated[
    str,
    Header(
        pattern=TICKET_PATTERN,
        description="The ticket of a change request, which stands in every event of the request.",
        examples=["CHG-1234"],
    ),
]


def caller(request: Request, _shown: Annotated[Any, Depends(_bearer)], ticket: Ticket = "") -> Subject:
    """Who calls, who may use this route. Raises ``unauthenticated`` and ``forbidden``."""
    house, shown = house_of(request), shown_token(request)
    with counted(request, "token"):
        found = house.tokens.authenticate(shown)
    who = request.state.who = replace(found, where=where_of(request), ticket=ticket)
    request.app.state.limits.take(who.user)
    authorize(who, permission_of(request.scope["route"]))
    return who


def again(request: Request) -> Subject:
    """Who calls, asked anew for an answer that goes on for long; raises as `caller` does."""
    found = house_of(request).tokens.authenticate(shown_token(request))
    who = replace(found, where=request.state.who.where, ticket=request.state.who.ticket)
    authorize(who, permission_of(request.scope["route"]))
    return who


def shown_token(request: Request) -> str:
    """The token that a request shows; raises ``unauthenticated``."""
    # Of two, another server on the way may have looked at the other one.
    shown = request.headers.getlist("authorization")
    scheme, _, secret = shown[0].partition(" ") if len(shown) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not secret:
        raise MandamusError(
            Code.UNAUTHENTICATED,
            "this needs a token",
            remedy="make one with `mandamus token create`, and send it as `Authorization: Bearer TOKEN`",
        )
    return secret.strip()


TheHouse = Annotated[House, Depends(house_of)]
Who = Annotated[Subject, Depends(caller)]


class Routes:
    """The routes of one subject, to be added to an application."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._made: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []

    def verb(self, method: str, path: str, permission: Permission, **options: Any) -> Callable[[E], E]:
        """Bind a function to a route and a permission; the function takes `Who`."""

        def bind(endpoint: E) -> E:
            setattr(endpoint, "permission", permission)  # noqa: B010 - mypy knows no attribute on a function
            responses = {**RESPONSES, **options.pop("responses", {})}
            extra = {"x-permission": permission.value}
            self._add(method, path, endpoint, responses=responses, openapi_extra=extra, **options)
            return endpoint

        return bind

    def public(
        self, path: str, *refusals: int, method: str = "GET", more: Mapping[int, Any] | None = None, **options: Any
    ) -> Callable[[E], E]:
        """Bind a function to a route for anybody; its path is one of `PUBLIC`, and it may refuse with a status.

        ``more`` are responses that are no problems of ours.
        """

        def bind(endpoint: E) -> E:
            responses = {**{status: RESPONSES[status] for status in refusals}, **(more or {})}
            self._add(method, path, endpoint, responses=responses, **options)
            return endpoint

        return bind

    def add_to(self, app: FastAPI, prefix: str = "") -> None:
        """Have the application answer at these routes."""
        for path, endpoint, options in self._made:
            app.add_api_route(f"{prefix}{path}", endpoint, **options)

    def _add(self, method: str, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        named = {"methods": [method], "operation_id": endpoint.__name__, "tags": [self._tag]}
        self._made.append((path, endpoint, {**named, **options}))
