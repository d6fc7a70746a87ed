"""The device authorization grant (RFC 8628): how a program asks for a token that a person lets it have, and ends it.

The routes are for anybody and take forms, as the RFC has it; what they refuse is in its words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from mandamus.api.door import Routes, house_of
from mandamus.identity.devices import NAME_CHARS_MAX, NotYet
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.tries import source_of
from mandamus.wire import device as wire

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
COST = 10.0
"""One question counts as so many: nobody has to ask more often than every five seconds."""
FIELDS_MAX = 10
FORM = "application/x-www-form-urlencoded"

routes = Routes("device")


def _form(required: list[str], **properties: Mapping[str, Any]) -> dict[str, Any]:
    """What the contract says of a form."""
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}


_NAME = {"type": "string", "maxLength": NAME_CHARS_MAX, "examples": ["mandamus on laptop-7"]}
_SCOPE = {"type": "string", "description": "Permissions with blanks between them; all of the person's without it."}
_REFUSED = {400: {"model": wire.DeviceError, "description": "Not, or not yet."}}


@routes.public(
    "/device/code",
    408,
    413,
    429,
    method="POST",
    openapi_extra=_form(["client_id"], client_id=_NAME, scope=_SCOPE),
    response_model=wire.DeviceCode,
    more=_REFUSED,
)
async def ask_for_device(request: Request) -> Response:
    """Ask for a token: a code for the program, and one that a person types in the console."""
    return await _answer(request, _ask)


@routes.public(
    "/device/token",
    408,
    413,
    429,
    method="POST",
    openapi_extra=_form(
        ["grant_type", "device_code"],
        grant_type={"type": "string", "enum": [GRANT]},
        device_code={"type": "string", "maxLength": 200},
    ),
    response_model=wire.DeviceToken,
    more=_REFUSED,
)
async def take_device_token(request: Request) -> Response:
    """Take the token, once somebody let the program have it; ask again until then, no sooner than was said."""
    return await _answer(request, _take)


@routes.public(
    "/device/revoke",
    408,
    413,
    429,
    method="POST",
    openapi_extra=_form(["token"], token={"type": "string", "maxLength": 200}),
    response_model=None,
    more=_REFUSED,
)
async def revoke_device_token(request: Request) -> Response:
    """End the token in the form, whatever it may (RFC 7009): whoever shows it may. Unknown ones are answered alike."""
    return await _answer(request, _revoke)


Verb = Callable[[Request, Mapping[str, str]], Response]


async def _answer(request: Request, verb: Verb) -> Response:
    request.app.state.limits.take(f"device {source_of(request)}", COST)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return _invalid("send a form, as application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return _invalid("the form cannot be read")
    if len(dict(pairs)) != len(pairs):
        return _invalid("a field stands twice")
    return await run_in_threadpool(verb, request, dict(pairs))


def _ask(request: Request, form: Mapping[str, str]) -> Response:
    house, scope = house_of(request), form.get("scope", "")
    try:
        permissions = frozenset(map(Permission, scope.split())) if scope.strip() else None
    except ValueError:
        return _error("invalid_scope", "the reference of permissions lists those there are")
    address = request.client.host if request.client else ""
    try:
        asked = house.devices.ask(form.get("client_id", ""), address, permissions)
    except MandamusError as error:
        if error.code is not Code.VALUE_INVALID:
            raise
        return _invalid(error.message)
    declared = house.sign_ins.declared()
    base = declared.url if declared is not None else str(request.base_url).rstrip("/")
    return _json(wire.device_code(asked, f"{base}/device"), 200)


def _take(request: Request, form: Mapping[str, str]) -> Response:
    if form.get("grant_type") != GRANT:
        return _error("unsupported_grant_type", f"grant_type is {GRANT}")
    address = source_of(request)
    request.app.state.attempts.check("device", address)
    found = house_of(request).devices.take(form.get("device_code", ""))
    if found is NotYet.UNKNOWN:
        request.app.state.attempts.failed("device", address)
    if isinstance(found, NotYet):
        return _json(wire.device_error(found), 400)
    return _json(wire.device_token(found), 200)


def _revoke(request: Request, form: Mapping[str, str]) -> Response:
    if not form.get("token"):
        return _invalid("the form names no token")
    attempts, address = request.app.state.attempts, source_of(request)
    attempts.check("device", address)
    if not house_of(request).tokens.end(form["token"]):
        attempts.failed("device", address)
    return Response(status_code=200)


def _invalid(says: str) -> Response:
    return _error("invalid_request", says)


def _error(error: str, says: str) -> Response:
    return _json(wire.DeviceError(error=error, error_description=says), 400)


def _json(made: wire.DeviceCode | wire.DeviceToken | wire.DeviceError, status: int) -> Response:
    return JSONResponse(made.model_dump(mode="json"), status)
