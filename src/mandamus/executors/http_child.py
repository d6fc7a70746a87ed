"""A child program: makes one HTTP exchange and leaves its result in a file; started by ``http``, never imported by it.

Standard library only, for it starts with every step. The request comes as JSON on standard input, so that no header is
in a process list. It resolves the name once, checks the addresses and connects to one of those; it follows no
redirect and reads no proxy from anywhere. Two files in the step's folder tell how far it came, each durable before the
next thing happens: ``sent`` before the first byte of the request, ``answer`` after the response.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mandamus.kernel.addresses import permitted

SENT = "sent"
ANSWER = "answer"

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)

Resolve = Callable[[str, int], list[str]]


class StoppedError(Exception):
    """The exchange went no further; ``kind`` is one of resolve, denied, connect, tls, timeout, exchange."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Exchange:
    """One request, as ``http.wire`` describes it, and its response."""

    def __init__(self, wire: dict[str, Any], resolve: Resolve, monotonic_s: Callable[[], float]) -> None:
        self._wire = wire
        self._resolve = resolve
        self._monotonic_s = monotonic_s
        self._end_s = monotonic_s() + wire["timeout_s"]
        self._folder = Path(wire["folder"])
        self._sent = False

    def run(self) -> dict[str, Any]:
        """The answer, also when there is none: then ``error``, ``detail`` and whether anything was ``sent``."""
        try:
            with self._connected() as sock:
                self._mark_sent()
                return self._ask(sock)
        except StoppedError as error:
            return {"error": error.kind, "detail": str(error), "sent": self._sent}
        except TimeoutError:
            what = "no answer" if self._sent else "no connection"
            return {"error": "timeout", "detail": f"{what} in {self._wire['timeout_s']:g} s", "sent": self._sent}
        except (OSError, http.client.HTTPException) as error:
            kind = "exchange" if self._sent else "connect"
            return {"error": kind, "detail": _words(error), "sent": self._sent}

    def _connected(self) -> socket.socket:
        host, port = self._wire["host"], self._wire["port"]
        try:
            found = list(dict.fromkeys(self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise StoppedError("resolve", f"{host} has no address: {_words(error)}") from error
        open_to = [address for address in found if permitted(address, tuple(self._wire["allow"]))]
        if not open_to:
            raise StoppedError("denied", f"{host} is {', '.join(found[:4]) or 'nowhere'}")
        trouble: OSError = OSError("no address")
        for address in open_to:
            try:
                sock = socket.create_connection((address, port), timeout=self._left_s())
            except OSError as error:
                trouble = error
                continue
            _say(f"connected to {address} port {port}")
            return self._secured(sock)
        if isinstance(trouble, TimeoutError):
            raise trouble
        raise StoppedError("connect", f"{host} ({open_to[0]}) port {port}: {_words(trouble)}") from trouble

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self._wire["scheme"] == "http":
            return sock
        context = ssl.create_default_context(cafile=self._wire["roots"] or _roots())
        context.set_alpn_protocols(["http/1.1"])
        try:
            return context.wrap_socket(sock, server_hostname=self._wire["host"].rstrip("."))
        except ssl.SSLError as error:
            sock.close()
            raise StoppedError("tls", f"{self._wire['host']}: {_words(error)}") from error
        except BaseException:
            sock.close()
            raise

    def _ask(self, sock: socket.socket) -> dict[str, Any]:
        begun_s = self._monotonic_s()
        connection = http.client.HTTPConnection(self._wire["host"])
        connection.sock = sock
        connection.putrequest(self._wire["method"], self._wire["target"], skip_host=True, skip_accept_encoding=True)
        for name, value in self._wire["headers"]:
            connection.putheader(name, value.encode())
        # A receiver may answer and close before it has read everything; then the answer still counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(base64.b64decode(self._wire["body"]))
        sock.settimeout(self._left_s())
        response = connection.getresponse()
        body, whole = self._body(response, sock)
        _say(f"answered {response.status} {response.reason} after {1000 * (self._monotonic_s() - begun_s):.0f} ms")
        return {
            "status": response.status,
            "headers": [[name.lower(), value] for name, value in response.getheaders()],
            "body": base64.b64encode(body).decode(),
            "whole": whole,
        }

    def _body(self, response: http.client.HTTPResponse, sock: socket.socket) -> tuple[bytes, bool]:
        """What fits of the body, and whether that is all. The status is known by now and outlives a broken body."""
        limit = self._wire["answer_bytes_max"]
        parts: list[bytes] = []
        size = 0
        try:
            while size <= limit:
                sock.settimeout(self._left_s())
                part = response.read1(64 * 1024)
                if not part:
                    # read1 ends quietly when the receiver closes too early.
                    return b"".join(parts), not response.length
                parts.append(part)
                size += len(part)
        except (OSError, http.client.HTTPException):
            pass
        return b"".join(parts)[:limit], False

    def _mark_sent(self) -> None:
        (self._folder / SENT).write_bytes(b"")
        _sync(self._folder)
        self._sent = True

    def _left_s(self) -> float:
        left_s: float = self._end_s - self._monotonic_s()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def main() -> None:
    """Read the request, make the exchange, leave the answer."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    wire = json.load(sys.stdin.buffer)
    answer = Exchange(wire, resolve, time.monotonic).run()
    leave(Path(wire["folder"]), answer)


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def leave(folder: Path, answer: dict[str, Any]) -> None:
    """Write the answer, whole and durable or not at all."""
    partial = folder / f"{ANSWER}.partial"
    with partial.open("wb") as file:
        file.write(json.dumps(answer).encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / ANSWER)
    _sync(folder)


def _roots() -> str | None:
    return next((path for path in _BUNDLES if Path(path).is_file()), None)


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__} {error}".strip()


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _say(text: str) -> None:
    # Names in the answer come from outside; nothing of it may steer a terminal.
    sys.stdout.write("".join(char if char.isprintable() else "?" for char in text) + "\n")
    sys.stdout.flush()
