"""The one mapping from errors to pages: the house's four parts in words, or the way in. Refusals are recorded."""

from __future__ import annotations

import math
from urllib.parse import urlencode

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.trouble import known
from mandamus.serving.refusals import record

log = structlog.get_logger()


def install(app: Starlette) -> None:
    """Have every error become a page."""
    app.add_exception_handler(MandamusError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _ours)


def plain(error: MandamusError, path: str) -> Response:  # noqa: ARG001 - as every door's refusal
    """An error that is told before any page can be made."""
    return PlainTextResponse(f"{error.message}\n{error.remedy}\n", error.code.http_status)


async def _ours(request: Request, error: Exception) -> Response:
    made = known(error)
    if made.code is Code.INTERNAL:
        log.error("a page failed", path=request.url.path, exc_info=error)
    await run_in_threadpool(record, request, made)
    return _page(request, made)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    path = request.url.path
    if error.status_code == Code.METHOD_NOT_ALLOWED.http_status:
        made = MandamusError(Code.METHOD_NOT_ALLOWED, f"{request.method} is not for {path}", remedy="go back")
    else:
        made = MandamusError(Code.NOT_FOUND, f"there is no page {path}", remedy="start at the first page")
    return _page(request, made)


def _page(request: Request, error: MandamusError) -> Response:
    if error.code is Code.UNAUTHENTICATED and request.url.path != "/sign-in":
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = f"?{urlencode({'then': here})}" if request.method == "GET" and here != "/" else ""
        return RedirectResponse(f"/sign-in{back}", 303)
    found: Response = request.app.state.renderer.page(
        request, "error.html", status=error.code.http_status, who=getattr(request.state, "who", None), error=error
    )
    if isinstance(wait_s := error.context.get("retry_after_s"), float):
        found.headers["Retry-After"] = str(math.ceil(wait_s))
    return found
