"""Asks identity providers: over TLS or on this machine, without redirects or proxies, bounded in time and size."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

from mandamus.identity.issuer import is_secure, unavailable

TIMEOUT_S = 5.0
ANSWER_S = 10.0
BYTES_MAX = 512 * 1024

Monotonic = Callable[[], float]

TROUBLE = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ssl.SSLError, OSError, UnicodeError)
"""What asking can come to when there is no good answer."""


def options(monotonic_s: Monotonic) -> dict[str, Any]:
    """How every client that asks a provider behaves. No environment variable has a say in it, so no proxy has."""
    return {
        "transport": _Bounded(monotonic_s),
        "timeout": TIMEOUT_S,
        "trust_env": False,
        "follow_redirects": False,
        "headers": {"User-Agent": "mandamus", "Accept": "application/json", "Accept-Encoding": "identity"},
    }


def fetch(monotonic_s: Monotonic, url: str) -> Mapping[str, Any]:
    """The JSON object at a URL; raises ``unavailable`` for whatever else is there."""
    if not is_secure(url):
        raise unavailable(url, "it is neither https nor on this machine")
    try:
        with httpx2.Client(**options(monotonic_s)) as client:
            answer = client.get(url)
    except TROUBLE as error:
        raise unavailable(url, f"{type(error).__name__}: {error}") from error
    if answer.status_code != httpx2.codes.OK:
        raise unavailable(url, f"it says {answer.status_code}")
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise unavailable(url, "the answer is no JSON") from error
    if not isinstance(found, dict):
        raise unavailable(url, "the answer is no JSON object")
    return found


class _Bounded(httpx2.HTTPTransport):
    """Ends an answer that is too long or takes too long, whichever client reads it."""

    def __init__(self, monotonic_s: Monotonic) -> None:
        super().__init__(verify=ssl.create_default_context(), trust_env=False)
        self._monotonic_s = monotonic_s

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask, and bound what comes back."""
        until_s = self._monotonic_s() + ANSWER_S
        answer = super().handle_request(request)
        assert isinstance(answer.stream, httpx2.SyncByteStream)  # noqa: S101 - this transport is a synchronous one
        # Nobody asked for compression, and a few packed bytes could become very many.
        coded = answer.headers.get("content-encoding", "identity") != "identity"
        stream = _Counted(answer.stream, BYTES_MAX if not coded else 0, until_s, self._monotonic_s)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=stream, extensions=answer.extensions)


class _Counted(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, left: int, until_s: float, monotonic_s: Monotonic) -> None:
        self._stream = stream
        self._left = left
        self._until_s = until_s
        self._monotonic_s = monotonic_s

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._left -= len(part)
            if self._left < 0:
                raise httpx2.ReadError("the answer is too long")
            if self._monotonic_s() > self._until_s:
                raise httpx2.ReadTimeout("the answer takes too long")
            yield part

    def close(self) -> None:
        self._stream.close()
