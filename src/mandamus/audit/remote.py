"""A published log that is read over HTTP, by the standard library alone."""

from __future__ import annotations

import http.client
import ssl
import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from mandamus.audit import tiles
from mandamus.kernel.errors import Code, MandamusError

TIMEOUT_S = 30.0
_REDIRECTS_MAX = 3
_MOVED = (301, 302, 303, 307, 308)
_ABSENT = (404, 410)
_GZIP = 16 + zlib.MAX_WBITS


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    reachable = parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
    return reachable and "@" not in parts.netloc and not parts.query


class Web:
    """The log below a URL (C2SP tlog-tiles). One connection, kept open; each process that gets a copy opens its own.

    Answers are no longer than what they may be, and a redirect stays on its host. There are no credentials: what a
    log publishes is for everybody who may reach it.
    """

    def __init__(self, url: str) -> None:
        """Raise ``usage`` for anything but an ``http`` or ``https`` URL."""
        self._url = url.rstrip("/") + "/"
        if not _is_address(self._url):
            raise MandamusError(
                Code.USAGE,
                f"{url[:200]!r} is not the address of a log",
                remedy="give http://HOST/PATH or https://HOST/PATH, without credentials and without a query",
            )
        self._connection: http.client.HTTPConnection | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_url": self._url, "_connection": None}

    def read(self, path: str, bytes_max: int) -> bytes | None:
        """See `Source.read`."""
        url = urljoin(self._url, path)
        for _ in range(_REDIRECTS_MAX):
            status, headers, body = self._get(url, bytes_max)
            if status in _ABSENT:
                return None
            if status in _MOVED and headers.get("Location"):
                url = self._beside(url, str(headers["Location"]))
                continue
            if status != http.client.OK:
                raise self._trouble(url, f"it answers {status}")
            if headers.get("Content-Encoding", "identity") == "identity":
                return body
            return self._unpacked(url, body, bytes_max)
        raise self._trouble(url, f"it redirects more than {_REDIRECTS_MAX} times")

    def widths(self, tile: tiles.Tile) -> Sequence[int]:  # noqa: ARG002 - the web lists no folders
        """See `Source.widths`."""
        return ()

    def _get(self, url: str, bytes_max: int) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request; once more on a connection that was closed meanwhile."""
        fresh = self._connection is None
        connection = self._connection = self._connection or self._open()
        parts = urlsplit(url)
        try:
            connection.request("GET", parts.path, headers={"Accept-Encoding": "gzip, identity"})
            answer = connection.getresponse()
            body = answer.read(bytes_max + 1)
            if not answer.isclosed() and answer.read(1):
                # More than that is read by nobody; the connection cannot be used any more.
                self._close()
        except (OSError, http.client.HTTPException) as error:
            self._close()
            if fresh:
                raise self._trouble(url, str(error) or type(error).__name__) from error
            return self._get(url, bytes_max)
        return answer.status, answer.headers, body

    def _open(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._url)
        host = str(parts.hostname)
        if parts.scheme == "https":
            return http.client.HTTPSConnection(
                host, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _beside(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if urlsplit(target)[:2] != urlsplit(self._url)[:2]:
            raise self._trouble(url, f"it redirects to another host: {target[:200]}")
        return target

    def _unpacked(self, url: str, body: bytes, bytes_max: int) -> bytes:
        unpack = zlib.decompressobj(_GZIP)
        try:
            return unpack.decompress(body, bytes_max + 1)
        except zlib.error as error:
            raise self._trouble(url, "its encoding is not gzip") from error

    def _trouble(self, url: str, why: str) -> MandamusError:
        return MandamusError(
            Code.AUDIT_INCOMPLETE,
            f"{url} cannot be read: {why}",
            remedy="try again later, or get a copy of the log's folder",
            retryable=True,
        )
