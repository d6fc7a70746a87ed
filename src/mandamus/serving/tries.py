"""Whoever shows something to come in is counted when it was no good, and waits when that was too often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from starlette.requests import HTTPConnection

from mandamus.identity.attempts import Attempts, account_of, address_of
from mandamus.kernel.errors import Code, MandamusError


def source_of(request: HTTPConnection) -> str:
    """Whom a request is counted for when nobody knows yet who sends it: its address, or the network of that."""
    return address_of(request.client.host if request.client else "")


@contextmanager
def counted(request: HTTPConnection, door: str, account: str = "") -> Iterator[None]:
    """A try to come in at a door, from the caller's address and as an account if one is named.

    Raises ``rate_limited`` before it is looked at. Counts what raises ``unauthenticated``.
    """
    attempts = cast("Attempts", request.app.state.attempts)
    whose = [source_of(request), *([account_of(account)] if account else [])]
    attempts.check(door, *whose)
    try:
        yield
    except MandamusError as error:
        if error.code is Code.UNAUTHENTICATED:
            attempts.failed(door, *whose)
        raise
