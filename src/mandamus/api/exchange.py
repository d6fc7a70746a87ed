"""Token exchange (RFC 8693): a program of another system shows what its own issuer signed, and gets a short token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from mandamus.api.door import Routes, house_of
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.tries import counted, source_of
from mandamus.serving.where import where_of
from mandamus.wire import exchange as wire

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a type
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type
COST = 5.0
FIELDS_MAX = 20
FORM = "application/x-www-form-urlencoded"

routes = Routes("exchange")

_PROPERTIES: Mapping[str, Any] = {
    "grant_type": {"type": "string", "enum": [GRANT]},
    "subject_token": {"type": "string", "description": "What the issuer signed for this job."},
    "subject_token_type": {"type": "string", "enum": [JWT, ID_TOKEN]},
    "scope": {"type": "string", "description": "Fewer permissions than are declared, with blanks between them."},
}
_SCHEMA = {
    "type": "object",
    "properties": _PROPERTIES,
    "required": ["grant_type", "subject_token", "subject_token_type"],
}
_REFUSED = {400: {"model": wire.ExchangeError, "description": "It is not taken."}}


@routes.public(
    "/token-exchange",
    408,
    413,
    429,
    503,
    method="POST",
    openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": _SCHEMA}}}},
    response_model=wire.ExchangedToken,
    more=_REFUSED,
)
async def exchange_token(request: Request) -> Response:
    """A short token for one that an issuer signed, if the platform file takes it; each is taken once."""
    request.app.state.limits.take(f"exchange {source_of(request)}", COST)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return _error("invalid_request", "send a form, as application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return _error("invalid_request", "the form cannot be read")
    if len(dict(pairs)) != len(pairs):
        return _error("invalid_request", "a field stands twice")
    wrong = _unfit(dict(pairs))
    return wrong if wrong is not None else await run_in_threadpool(_exchange, request, dict(pairs))


def _unfit(form: Mapping[str, str]) -> Response | None:
    """What is wrong with a request, whatever its token is."""
    if form.get("grant_type") != GRANT:
        return _error("unsupported_grant_type", f"grant_type is {GRANT}")
    if form.get("subject_token_type") not in {JWT, ID_TOKEN} or "actor_token" in form:
        return _error("invalid_request", f"subject_token_type is {JWT}, and nobody acts for another here")
    if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        return _error("invalid_request", f"requested_token_type is {ACCESS_TOKEN}")
    return None


def _exchange(request: Request, form: Mapping[str, str]) -> Response:
    scope = form.get("scope", "").split()
    try:
        wanted = frozenset(map(Permission, scope)) if scope else None
    except ValueError:
        return _error("invalid_scope", "the reference of permissions lists those there are")
    house = house_of(request)
    try:
        with counted(request, "exchange"):
            made = house.exchanges.exchange(form.get("subject_token", ""), where_of(request), wanted)
    except MandamusError as error:
        if error.code is not Code.UNAUTHENTICATED:
            raise
        return _error("invalid_grant", error.message)
    life_s = round((made.token.expires_us - made.token.created_us) / 1_000_000)
    return JSONResponse(
        wire.ExchangedToken(
            access_token=made.secret,
            issued_token_type=ACCESS_TOKEN,
            token_type="Bearer",  # noqa: S106 - RFC 6750
            expires_in=life_s,
            scope=" ".join(sorted(each.value for each in made.token.permissions or ())),
        ).model_dump(mode="json")
    )


def _error(error: str, says: str) -> Response:
    return JSONResponse(wire.ExchangeError(error=error, error_description=says).model_dump(mode="json"), 400)
