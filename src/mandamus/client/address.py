"""Where a server is, and what may be sent there: a token goes over TLS, or stays on this machine."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from mandamus.kernel.errors import Code, MandamusError


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises ``usage`` for what is no address of a server, and for one where a token could be read on its way.
    """
    parts = _split(url)
    if parts is None:
        raise MandamusError(
            Code.USAGE,
            f"{url[:200]!r} is not the address of a server",
            remedy="give https://HOST or https://HOST:PORT, without credentials and without a query",
        )
    host = str(parts.hostname)
    if parts.scheme == "http" and not _is_loopback(host):
        raise MandamusError(
            Code.USAGE,
            f"{host} is another machine, and a token sent there over http could be read on its way",
            remedy=f"give https://{parts.netloc}; a server has TLS with `mandamus up --tls-cert FILE --tls-key FILE`",
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def checked_token(token: str) -> str:
    """The token without white space around it; raises ``usage``, without a word of it, for what can be none."""
    made = token.strip()
    if not made or not made.isascii() or not made.isprintable() or " " in made:
        raise MandamusError(
            Code.USAGE,
            "that is no token" if made else "there is no token",
            remedy="make one with `mandamus token create NAME`, and give it as it was shown",
        )
    return made


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    good = parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
    return parts if good and "@" not in parts.netloc and not parts.query and not parts.fragment else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
