"""The one mapping from errors to HTTP: RFC 9457 problem details with the house's four parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from mandamus.api import scim_forms
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.trouble import known
from mandamus.serving.refusals import record
from mandamus.wire.base import Problem

MEDIA_TYPE = "application/problem+json"
PATH_SHOWN_MAX = 500

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 408, 409, 413, 422, 429, 503)
}
"""What any route may answer with instead."""

log = structlog.get_logger()


def install(app: FastAPI) -> None:
    """Have every error become a problem."""
    app.add_exception_handler(MandamusError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _ours)


def problem(error: MandamusError, path: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as a response."""
    path = path[:PATH_SHOWN_MAX]
    status = error.code.http_status
    extra = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        extra["WWW-Authenticate"] = "Bearer"
    if isinstance(wait_s := error.context.get("retry_after_s"), float):
        extra["Retry-After"] = str(math.ceil(wait_s))
    if path.startswith(f"{scim_forms.PREFIX}/"):
        return scim_forms.error(error, extra)
    made = Problem(
        type=f"urn:mandamus:error:{error.code.text}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code.text,
        remedy=error.remedy,
        retryable=error.retryable,
        context=_plain(error.context),
        instance=path,
    )
    return JSONResponse(made.model_dump(mode="json"), status, extra, media_type=MEDIA_TYPE)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    made = known(error)
    if made.code is Code.INTERNAL:
        log.error("a request failed", path=request.url.path, exc_info=error)
    await run_in_threadpool(record, request, made)
    return problem(made, request.url.path)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type alone
    # What was given is not repeated: it may be a secret in the wrong place.
    found = [{"where": ".".join(str(part) for part in each["loc"]), "why": each["msg"]} for each in error.errors()]
    lines = "\n".join(f"{each['where']}: {each['why']}" for each in found)
    made = MandamusError(
        Code.VALUE_INVALID, lines, remedy="correct what is named; /api/docs has an example", context={"fields": found}
    )
    return problem(made, request.url.path)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    path = request.url.path[:PATH_SHOWN_MAX]
    if isinstance(error.__cause__, MandamusError):
        # Reading the body ended it, and FastAPI put its own words around that.
        made = error.__cause__
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        made = MandamusError(Code.METHOD_NOT_ALLOWED, f"{request.method} is not for {path}", remedy="see /api/docs")
    elif error.status_code == HTTPStatus.NOT_FOUND:
        made = MandamusError(Code.NOT_FOUND, f"there is no {path}", remedy="see /api/docs")
    else:
        made = MandamusError(Code.USAGE, str(error.detail), remedy="see /api/docs")
    return problem(made, path, error.headers)


def _plain(context: Mapping[str, object]) -> dict[str, Any]:
    return {name: _value(value) for name, value in context.items()}


def _value(value: object) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(name): _value(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_value(each) for each in value]
        case _:
            return str(value)
