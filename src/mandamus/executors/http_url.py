"""URLs of HTTP steps, in a grammar so strict that no two programs can read one differently."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

CHARS_MAX = 8192
_HOST_CHARS_MAX = 253
_PORTS = {"http": 80, "https": 443}

# RFC 3986 without user information and fragment, and without the characters that browsers rewrite.
_FORM = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!$-;=?-\[\]_a-z{|}~]*)?"
)


@dataclass(frozen=True)
class Url:
    """A URL in parts; ``authority`` is the Host header, ``target`` what stands in the request line (RFC 9112)."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str

    def literal(self) -> str | None:
        """The numeric address when the host is one, in any form that resolvers accept (``127.1``, ``0x7f000001``)."""
        if ":" in self.host:
            return self.host
        try:
            return socket.inet_ntoa(socket.inet_aton(self.host))
        except OSError:
            return None


def parse(text: str) -> Url:
    """Parts of an ``http`` or ``https`` URL; raises ``ValueError`` with what is wrong, never with the URL itself."""
    if len(text) > CHARS_MAX:
        raise ValueError(f"it is over {CHARS_MAX} characters")
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(_fault(text))
    scheme = match["scheme"].lower()
    host = match["six"] or match["name"]
    if len(host) > _HOST_CHARS_MAX or ".." in host:
        raise ValueError("its host is no name")
    port = int(match["port"] or _PORTS[scheme])
    if not 1 <= port <= 65_535:
        raise ValueError("its port is not from 1 to 65535")
    shown = f"[{host}]" if match["six"] else host
    authority = shown if port == _PORTS[scheme] else f"{shown}:{port}"
    target = match["target"] or "/"
    return Url(scheme, host, port, authority, target if target.startswith("/") else f"/{target}")


def _fault(text: str) -> str:
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in _PORTS:
        return "it begins with neither http:// nor https://"
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if "@" in authority:
        return "it holds a user name; use an Authorization header"
    if "#" in rest:
        return "it has a fragment (#), which is never sent"
    if not text.isascii() or any(char <= " " or char in '\x7f\\"<>^`' for char in text):
        return "it holds a character that has to be percent-encoded (a host: in its xn-- form)"
    return "its host or port cannot be read"
