"""The sink that is a syslog server: RFC 5424 messages over TLS with octet counting (RFC 5425)."""

from __future__ import annotations

import fcntl
import re
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mandamus.audit import export_ocsf, tiles
from mandamus.audit.export_model import PEN, Record, trouble
from mandamus.kernel.clock import rfc3339

_LOG_AUDIT = 13
_NOTICE, _WARNING = 5, 4
_APP = "mandamus"
_NAME_CHARS_MAX = 255
_MESSAGE_ID_CHARS_MAX = 32
_LOOK_S = 0.002
_ESTABLISHED, _CLOSED_BY_PEER = 1, 8
"""States of a TCP connection (Linux, ``tcp_states.h``)."""

_UNPRINTABLE = re.compile(r"[^!-~]")


@dataclass(frozen=True)
class Server:
    """Where it listens, and how it is known: ``ca`` is the file of who may vouch for it, empty for the system's.

    ``cert`` and ``key`` are the files by which we are known to it, both or neither.
    """

    host: str
    port: int
    ca: str = ""
    cert: str = ""
    key: str = ""


def message(record: Record, pen: int = PEN, body: Callable[[Record], str] = export_ocsf.encode) -> bytes:
    """One message: index and hash of the leaf as structured data, behind them the event as one line of ASCII."""
    leaf = record.fields
    severity = _NOTICE if leaf["outcome"] == "ok" else _WARNING
    host = _name(leaf["where"]["node"] or "-", _NAME_CHARS_MAX)
    kind = _name(leaf["kind"], _MESSAGE_ID_CHARS_MAX)
    origin = record.origin.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    data = f'[audit@{pen} idx="{record.index}" leaf="{export_ocsf.sha256(record.leaf)}" origin="{origin}"]'
    head = f"<{_LOG_AUDIT * 8 + severity}>1 {rfc3339(leaf['at'])} {host} {_APP} - {kind} {data} "
    return head.encode() + body(record).encode("ascii")


def frame(data: bytes) -> bytes:
    """A message behind its length in octets (RFC 5425, 4.3)."""
    return b"%d %s" % (len(data), data)


class Syslog:
    """Sends each batch over a connection of its own and ends it in order.

    Syslog has no answer. A sink has taken a batch when it closes the connection behind the end of our stream and has
    acknowledged every octet. A connection that is reset, or ends with something unread, took nothing.
    """

    batch = tiles.WIDTH

    def __init__(
        self,
        sink: str,
        server: Server,
        timeout_s: float,
        pen: int = PEN,
        body: Callable[[Record], str] = export_ocsf.encode,
    ) -> None:
        self._sink = sink
        self._server = server
        self._timeout_s = timeout_s
        self._pen = pen
        self._body = body

    def take(self, records: Sequence[Record]) -> None:
        """See `Taker.take`."""
        data = b"".join(frame(message(each, self._pen, self._body)) for each in records)
        server = self._server
        try:
            context = tls_context(server.ca, server.cert, server.key)
            with (
                socket.create_connection((server.host, server.port), self._timeout_s) as plain,
                context.wrap_socket(plain, server_hostname=server.host) as tls,
            ):
                tls.sendall(data)
                _finish(tls, self._timeout_s)
        except (OSError, ValueError) as error:
            raise trouble(self._sink, f"{server.host}:{server.port}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Nothing is held open."""


def tls_context(ca: str, cert: str = "", key: str = "") -> ssl.SSLContext:
    """TLS 1.2 or newer with certificate and name checked; raises ``OSError`` for files that cannot be used."""
    context = ssl.create_default_context(cafile=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert:
        context.load_cert_chain(Path(cert), Path(key) if key else None)
    return context


def _finish(tls: ssl.SSLSocket, timeout_s: float) -> None:
    """Say that this was all, and return once the other side has closed the connection and has all of ours.

    The end of its TLS stream is no receipt: OpenSSL takes an alert, such as the one for a certificate that is missing,
    for a goodbye as well. Whoever closes with something unread, or before it came, sends a reset instead of an end or
    behind it: so the connection must be closed by them, not reset, and every octet acknowledged.
    """
    try:
        plain: socket.socket = tls.unwrap()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        plain = tls  # It closed without TLS's own goodbye, as many do.
    for _ in range(max(1, round(timeout_s / _LOOK_S))):
        state = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state not in {_ESTABLISHED, _CLOSED_BY_PEER}:
            raise ConnectionResetError("it went before it had read everything")
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(plain.fileno(), termios.TIOCOUTQ, bytes(4)))
        if state == _CLOSED_BY_PEER and not unacknowledged:
            return
        select.select([], [], [], _LOOK_S)
    raise TimeoutError("it did not end the connection")


def _name(text: str, most: int) -> str:
    return _UNPRINTABLE.sub("_", text)[:most] or "-"
