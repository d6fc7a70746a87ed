"""POST to a sink that speaks HTTP: one kept connection, no redirect, no proxy, every answer bounded, retries spaced."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mandamus.audit.export_model import trouble, visible
from mandamus.audit.export_syslog import tls_context

ATTEMPTS = 4
FIRST_PAUSE_S = 0.5
_ANSWER_BYTES_MAX = 64 * 1024
_TOO_MANY = 429


@dataclass(frozen=True)
class Answer:
    """HTTP status and body of what the sink said."""

    status: int
    body: bytes


class Poster:
    """Posts to one URL. ``pause`` waits so many seconds; it is handed in because nothing here has a clock."""

    def __init__(self, sink: str, url: str, timeout_s: float, pause: Callable[[float], None], ca: str = "") -> None:
        self._sink = sink
        self._url = url
        self._timeout_s = timeout_s
        self._pause = pause
        self._ca = ca
        self._kept: http.client.HTTPConnection | None = None

    def post(self, body: bytes, headers: Callable[[], Mapping[str, str]]) -> Answer:
        """A 2xx answer; ``headers`` are made anew for each attempt.

        Raises ``audit_unavailable`` at once for an answer that trying again cannot change, else after the attempts.
        """
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._pause(FIRST_PAUSE_S * 2 ** (attempt - 1))
            try:
                answer = self._send(body, headers())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                why = f"{type(error).__name__}: {error}"
                continue
            if 200 <= answer.status < 300:
                return answer
            self.close()
            why = f"it answers {answer.status} {visible(answer.body[:200].decode(errors='replace'))}"
            if answer.status < 500 and answer.status != _TOO_MANY:
                break
        raise trouble(self._sink, f"{self._url}: {why}")

    def close(self) -> None:
        """End the kept connection."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _send(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(self._url)
        if self._kept is None:
            self._kept = self._connect(parts.scheme, parts.hostname or "", parts.port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._kept.request("POST", target, body, dict(headers))
        answer = self._kept.getresponse()
        data = answer.read(_ANSWER_BYTES_MAX)
        if not answer.isclosed() and len(data) < _ANSWER_BYTES_MAX:
            raise http.client.IncompleteRead(data)
        if not answer.isclosed():
            self.close()
        return Answer(answer.status, data)

    def _connect(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=tls_context(self._ca))
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
