"""Refuses a body that is too long, too slow or of two lengths, before it is parsed, in the words of its door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mandamus.kernel.errors import Code, MandamusError

BYTES_MAX = 1024 * 1024
PART_S = 30.0
"""So long a server waits for the next part of a body: whoever sends none holds nothing for ever."""


class BodyLimit:
    """Counts what comes in, whatever its length was said to be."""

    def __init__(self, app: ASGIApp, refusal: Callable[[MandamusError, str], ASGIApp], part_s: float = PART_S) -> None:
        self._app = app
        self._refusal = refusal
        self._part_s = part_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; reading more of it than may be raises ``too_large``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers and b"content-length" in headers:
            await self._refusal(_two_lengths(), scope["path"])(scope, receive, _last(send))
            return
        if not declared.isdigit() or int(declared) > BYTES_MAX:
            await self._refusal(_too_large(), scope["path"])(scope, receive, send)
            return
        taken, whole = 0, False

        async def counted() -> Message:
            nonlocal taken, whole
            if whole:
                # What is waited for now is that the caller goes away.
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._part_s)
            except TimeoutError:
                raise _too_slow() from None
            whole = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > BYTES_MAX:
                raise _too_large()
            return message

        await self._app(scope, counted, send)


def _two_lengths() -> MandamusError:
    # RFC 9112, 6.1: a server on the way may have believed the other one, and what follows is smuggled past it.
    return MandamusError(
        Code.USAGE,
        "the request has both Content-Length and Transfer-Encoding",
        remedy="send one of them",
    )


def _last(send: Send) -> Send:
    """Nothing more is read from the connection: it may be anybody's."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return closing


def _too_slow() -> MandamusError:
    return MandamusError(
        Code.TOO_SLOW, "the rest of the body did not come", remedy="send it again, in one go", retryable=True
    )


def _too_large() -> MandamusError:
    return MandamusError(Code.TOO_LARGE, f"a body of more than {BYTES_MAX} bytes", remedy="send less, or in parts")
