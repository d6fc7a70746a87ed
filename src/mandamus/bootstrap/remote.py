"""Opens what a server has of a house: finds the token, and builds the client that shows it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mandamus.client.address import checked_token, checked_url
from mandamus.client.client import Client
from mandamus.client.device import Show, sign_in, sign_out
from mandamus.client.exchange import exchange as exchanged
from mandamus.client.house import RemoteHouse
from mandamus.client.keep import Keep
from mandamus.client.transport import pause
from mandamus.identity.devices import NAME_CHARS_MAX
from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import Settings

FOLDER = "mandamus"


def open_remote(settings: Settings, environ: Mapping[str, str], url: str, ticket: str = "") -> RemoteHouse:
    """A server's rooms, as whoever the token is of: that of ``MANDAMUS_TOKEN``, else the one `login` kept for it.

    Raises ``unauthenticated`` when there is none.
    """
    server = checked_url(url)
    token = settings.token or _keep(environ).token_of(server)
    if not token:
        raise MandamusError(
            Code.UNAUTHENTICATED,
            f"there is no token for {server}",
            remedy="get one with `mandamus login`, or give one as MANDAMUS_TOKEN",
            context={"server": server},
        )
    return RemoteHouse(_client(settings, server, token, ticket))


def login(settings: Settings, environ: Mapping[str, str], url: str, token: str) -> Mapping[str, str]:
    """Keep a token for a server that takes it; gives the server, whose it is, and the file it is in."""
    server, shown = checked_url(url), checked_token(token)
    with _client(settings, server, shown) as client:
        user = client.get_me().user
    keep = _keep(environ)
    keep.put(server, shown)
    return {"server": server, "user": user, "file": str(keep.path)}


def device_login(
    settings: Settings, environ: Mapping[str, str], url: str, permissions: Sequence[str], show: Show
) -> Mapping[str, str]:
    """Keep a token that somebody lets this machine have in the console; gives what `login` does."""
    roots = Path(settings.server_roots) if settings.server_roots else None
    name = f"mandamus on {socket.gethostname()}"[:NAME_CHARS_MAX]
    token = sign_in(url, name, permissions, show, sleep=pause, monotonic_s=time.monotonic, roots=roots)
    return login(settings, environ, url, token)


def logout(settings: Settings, environ: Mapping[str, str], url: str) -> Mapping[str, str]:
    """End the token that was kept for a server, there and here; gives the server and what became of it."""
    server = checked_url(url)
    token = _keep(environ).drop(server)
    if token is None:
        return {"server": server, "token": "none"}
    sign_out(server, token, roots=Path(settings.server_roots) if settings.server_roots else None)
    return {"server": server, "token": "ended"}


def exchange(settings: Settings, url: str, token: str) -> Mapping[str, Any]:
    """A short token of a server for one that a CI system signed; kept nowhere."""
    roots = Path(settings.server_roots) if settings.server_roots else None
    return exchanged(url, token, roots=roots).model_dump(mode="json")


def _client(settings: Settings, server: str, token: str, ticket: str = "") -> Client:
    roots = Path(settings.server_roots) if settings.server_roots else None
    return Client(server, token, entropy=os.urandom, roots=roots, ticket=ticket)


def _keep(environ: Mapping[str, str]) -> Keep:
    """The folder for configuration of the XDG base directories."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    if Path(configured).is_absolute():
        return Keep(Path(configured) / FOLDER)
    if environ.get("HOME"):
        return Keep(Path(environ["HOME"]) / ".config" / FOLDER)
    raise MandamusError(
        Code.USAGE,
        "there is no place for tokens: neither XDG_CONFIG_HOME nor HOME is set",
        remedy="set one of them, or give the token as MANDAMUS_TOKEN",
    )
