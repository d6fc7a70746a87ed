"""Refuses a request whose body is too long, before anything of it is parsed, in the words of the door it came to."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mandamus.kernel.errors import Code, MandamusError

BYTES_MAX = 1024 * 1024


class BodyLimit:
    """Counts what comes in, whatever its length was said to be."""

    def __init__(self, app: ASGIApp, refusal: Callable[[MandamusError, str], ASGIApp]) -> None:
        self._app = app
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; reading more of it than may be raises ``too_large``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > BYTES_MAX:
            await self._refusal(_too_large(), scope["path"])(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BYTES_MAX:
                raise _too_large()
            return message

        await self._app(scope, counted, send)


def _too_large() -> MandamusError:
    return MandamusError(Code.TOO_LARGE, f"a body of more than {BYTES_MAX} bytes", remedy="send less, or in parts")
