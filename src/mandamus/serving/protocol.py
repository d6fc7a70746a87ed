"""Hangs up on whoever connects and does not ask: half-open connections would use up the server's descriptors."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0
"""So long the head of a request may take, from the first byte or the connection."""


class Impatient(H11Protocol):
    """HTTP/1.1 with a limit on how long a request may take to begin."""

    head_s = HEAD_S
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connects."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Somebody says something: a part of a head, a head, or what follows it."""
        if self._late is None and self._is_idle():
            self._wait()
        super().data_received(data)
        if self._late is not None and not self._is_idle():
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._late = self.loop.call_later(self.head_s, self.transport.close)
