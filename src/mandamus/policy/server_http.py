"""HTTP to an OPA server: within a deadline whatever the server does, no redirects, no proxies, bounded answers."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy.model import Fault, fault

ANSWER_BYTES_MAX = 64 << 20
_CONNECTIONS_MAX = 32
_MARGIN_S = 2.0
_NOT_LET_IN = (401, 403)
_BUSY = (429, 503)


@dataclass(frozen=True)
class Place:
    """Where a server is: its URL, the file of a bearer token, the file of the certificates (PEM) it is trusted by."""

    url: str
    token_file: Path | None = None
    roots: Path | None = None

    def check(self) -> None:
        """Raise ``usage`` for what nobody should send a decision to: plain HTTP that leaves the machine."""
        parts = urlsplit(self.url)
        plain = parts.scheme == "http" and not _is_here(parts.hostname or "")
        if plain or parts.scheme not in ("http", "https") or not parts.hostname:
            why = "plain HTTP leaves this machine, so others could answer" if plain else "it is no URL of a server"
            raise _usage(f"the policy server {self.url!r}: {why}", "write https://HOST:PORT")
        if parts.username or parts.password or parts.query or parts.fragment:
            remedy = "write https://HOST:PORT, and a token into a file of its own"
            raise _usage("the policy server's URL holds more than a place", remedy)


class Rest:
    """The calls of many threads, each with a deadline of its own."""

    def __init__(self, place: Place) -> None:
        place.check()
        self._place = place
        self._base = place.url.rstrip("/")
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: httpx2.AsyncClient | None = None
        self._closed = False

    def call(
        self, method: str, path: tuple[str, ...], deadline_s: float, body: bytes = b"", params: str = ""
    ) -> tuple[int, Any]:
        """Status and JSON document of one exchange (None for an empty one); a path's parts are quoted here.

        Raises ``policy_unavailable`` for everything that is no answer of an OPA.
        """
        url = "/".join((self._base, *(quote(part, safe="") for part in path))) + (f"?{params}" if params else "")
        headers = self._headers(method)
        loop, client = self._open()
        asked = asyncio.run_coroutine_threadsafe(_within(client, method, url, headers, body, deadline_s), loop)
        try:
            status, data = asked.result(deadline_s + _MARGIN_S)
        except (TimeoutError, FutureTimeoutError) as error:
            asked.cancel()
            message = f"the policy server did not answer within {deadline_s:g} s"
            raise fault(Fault.TIMEOUT, message, "look why it is slow, or raise MANDAMUS_POLICY_DEADLINE_MS") from error
        except httpx2.ConnectError as error:
            message = f"the policy server {self._base} cannot be reached: {error}"
            raise fault(Fault.ENGINE_MISSING, message, "start it, or check MANDAMUS_POLICY_URL") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ssl.SSLError, OSError) as error:
            raise fault(Fault.WORKER_LOST, f"the policy server broke off: {error}", "try again") from error
        return status, _document(status, data)

    def close(self) -> None:
        """Let go of every connection; calls under way raise."""
        with self._lock:
            self._closed = True
            loop, client, thread = self._loop, self._client, self._thread
            self._loop = self._client = self._thread = None
        if loop is None or client is None or thread is None:
            return
        with contextlib.suppress(FutureTimeoutError, httpx2.HTTPError, OSError):
            asyncio.run_coroutine_threadsafe(client.aclose(), loop).result(_MARGIN_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _open(self) -> tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient]:
        with self._lock:
            if self._closed:
                raise fault(Fault.ENGINE_BUSY, "the policy engine is shutting down", "start the program again")
            if self._loop is None or self._client is None:
                self._client = httpx2.AsyncClient(
                    verify=self._trust(),
                    trust_env=False,
                    follow_redirects=False,
                    # `_within` bounds the whole exchange, which no timeout of the client does.
                    timeout=None,
                    limits=httpx2.Limits(max_connections=_CONNECTIONS_MAX),
                )
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="policy-server", daemon=True)
                self._thread.start()
            return self._loop, self._client

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=str(self._place.roots) if self._place.roots else None)
        except (OSError, ssl.SSLError) as error:
            message = f"the certificates in {self._place.roots} cannot be read: {error}"
            raise fault(Fault.ENGINE_MISSING, message, "mend MANDAMUS_POLICY_ROOTS") from error

    def _headers(self, method: str) -> dict[str, str]:
        kind = "text/plain" if method == "PUT" else "application/json"
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": kind}
        if self._place.token_file is None:
            return headers
        try:
            # Read each time: what runs beside us may renew it.
            token = self._place.token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            token, why = "", str(error)
        else:
            why = "it is empty or holds more than one line"
        if not token or not token.isprintable():
            message = f"the token in {self._place.token_file} cannot be used: {why}"
            raise fault(Fault.ENGINE_MISSING, message, "mend MANDAMUS_POLICY_TOKEN_FILE")
        return {**headers, "Authorization": f"Bearer {token}"}


async def _within(
    client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], body: bytes, deadline_s: float
) -> tuple[int, bytes]:
    async with asyncio.timeout(deadline_s):
        try:
            return await _exchange(client, method, url, headers, body)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            # A connection that was kept may have ended meanwhile; nothing we ask does harm when it is asked twice.
            return await _exchange(client, method, url, headers, body)


async def _exchange(
    client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, bytes]:
    async with client.stream(method, url, headers=headers, content=body) as answer:
        data = bytearray()
        async for chunk in answer.aiter_raw():
            data += chunk
            if len(data) > ANSWER_BYTES_MAX:
                raise fault(Fault.REPLY_INVALID, "the policy server's answer is too large", "look at what it answers")
        return answer.status_code, bytes(data)


def _document(status: int, data: bytes) -> Any:
    if status in _NOT_LET_IN:
        remedy = "check the token in MANDAMUS_POLICY_TOKEN_FILE"
        raise fault(Fault.ENGINE_MISSING, f"the policy server does not let us in (status {status})", remedy)
    if status in _BUSY:
        raise fault(Fault.ENGINE_BUSY, f"the policy server is busy (status {status})", "try again")
    if 300 <= status < 400:
        message = f"the policy server sends us elsewhere (status {status}), and a decision is not asked elsewhere"
        raise fault(Fault.REPLY_INVALID, message, "give the URL of the server itself")
    if not data:
        return None
    try:
        return canonical.loads(data)
    except MandamusError as error:
        message = f"the policy server's answer (status {status}) is not JSON: {error.message}"
        raise fault(Fault.REPLY_INVALID, message, "check that MANDAMUS_POLICY_URL is an OPA") from error


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _usage(message: str, remedy: str) -> MandamusError:
    return MandamusError(Code.USAGE, message, remedy=remedy)
