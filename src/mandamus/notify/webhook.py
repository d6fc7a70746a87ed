"""Sends to a webhook as Standard Webhooks says: one POST, no redirect, no proxy, bounded in time and size."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import SplitResult, urlsplit

from mandamus.audit.export_model import line, visible
from mandamus.audit.export_syslog import tls_context
from mandamus.audit.standard_webhook import key_of, signed
from mandamus.kernel.addresses import permitted
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import MandamusError
from mandamus.notify.model import Answer, Message, Webhook
from mandamus.secrets.service import Secrets

TIMEOUT_S = 15.0
"""For all of an attempt but finding the address: Standard Webhooks suggests 15 to 30 s."""
RETRY_S_MAX = 86_400.0
DETAIL_CHARS_MAX = 500
_SAID_BYTES = 200
_GONE = 410
_PORTS = {"http": 80, "https": 443}

Resolve = Callable[[str, int], list[str]]


class _StoppedError(Exception):
    """An attempt went no further; ``error`` is a word."""

    def __init__(self, error: str, detail: str, *, hopeless: bool = False) -> None:
        super().__init__(detail)
        self.answer = Answer(error, detail, hopeless=hopeless)


class Webhooks:
    """Sends to the webhooks of one home. ``resolve`` gives every address of a name."""

    def __init__(self, secrets: Secrets, clock: Clock, resolve: Resolve, timeout_s: float = TIMEOUT_S) -> None:
        self._secrets = secrets
        self._clock = clock
        self._resolve = resolve
        self._timeout_s = timeout_s

    def send(self, hook: Webhook, message: Message) -> Answer:
        """How the attempt ended. A repeated message has the same ``webhook-id``, by which a receiver knows it."""
        body = line(message.body).encode()
        try:
            keys = self._keys(hook)
            headers = signed(keys, message.event, self._clock.now_us() // 1_000_000, body)
            with self._connected(hook) as connection:
                return self._ask(connection, urlsplit(hook.url), body, headers)
        except _StoppedError as error:
            return error.answer
        except MandamusError as error:
            return Answer("secret", error.message)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(_word(error), visible(f"{type(error).__name__}: {error}")[:DETAIL_CHARS_MAX])

    def _keys(self, hook: Webhook) -> list[bytes]:
        refs = {"secret": hook.secret} | ({"old_secret": hook.old_secret} if hook.old_secret else {})
        values = self._secrets.resolve(refs)
        try:
            return [key_of(values[name]) for name in refs]
        except ValueError as error:
            raise _StoppedError("secret", str(error)) from error

    @contextmanager
    def _connected(self, hook: Webhook) -> Iterator[http.client.HTTPConnection]:
        """A connection to an address that was looked at, ended when its time is over whatever the other side does."""
        parts = urlsplit(hook.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        plain = self._dial(self._addresses(hook, parts.scheme, host, port), port)
        with _Deadline(plain, self._timeout_s) as deadline:
            try:
                yield _speaking(hook, host, port, deadline)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if deadline.passed:
                    raise _StoppedError("timeout", f"no answer in {self._timeout_s:g} s") from error
                raise

    def _addresses(self, hook: Webhook, scheme: str, host: str, port: int) -> list[str]:
        """The addresses of the host that may be reached; whoever answers for its name cannot lead elsewhere."""
        try:
            found = list(dict.fromkeys(self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise _StoppedError("resolve", visible(f"{host} has no address: {error}")) from error
        may = [each for each in found if permitted(each, hook.allow_private)]
        if scheme == "http":
            may = [each for each in may if ipaddress.ip_address(each).is_loopback]
        if not may:
            shown = visible(f"{host} is {', '.join(found[:4]) or 'nowhere'}, which this subscription may not reach")
            raise _StoppedError("denied", shown, hopeless=True)
        return may

    def _dial(self, addresses: list[str], port: int) -> socket.socket:
        trouble: OSError = OSError("no address")
        for address in addresses:
            try:
                return socket.create_connection((address, port), timeout=self._timeout_s / len(addresses))
            except OSError as error:
                trouble = error
        raise _StoppedError("connect", visible(f"{addresses[0]} port {port}: {trouble}")) from trouble

    def _ask(
        self, connection: http.client.HTTPConnection, parts: SplitResult, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.sock.settimeout(self._timeout_s)
        connection.request("POST", target, body, dict(headers))
        # Only what stands before the body counts; of a body no more is read than a person is shown.
        answer = connection.getresponse()
        if 200 <= answer.status < 300:
            return Answer()
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            said = answer.read(_SAID_BYTES)
            return self._refused(answer, visible(said.decode(errors="replace")))
        return self._refused(answer, "")

    def _refused(self, answer: http.client.HTTPResponse, said: str) -> Answer:
        retry_s = self._retry_s(answer.headers.get("Retry-After") or "")
        detail = f"it answers {answer.status} {said}".strip()
        return Answer(f"status-{answer.status}", detail, retry_s, gone=answer.status == _GONE)

    def _retry_s(self, text: str) -> float:
        """Seconds of a Retry-After (RFC 9110 section 10.2.3), 0 for none that can be read."""
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), RETRY_S_MAX)
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        left_s = (at - datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC)).total_seconds()
        return min(max(left_s, 0.0), RETRY_S_MAX)


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _speaking(hook: Webhook, host: str, port: int, deadline: _Deadline) -> http.client.HTTPConnection:
    """HTTP over the deadline's socket, inside of TLS where the URL says so."""
    if not hook.url.startswith("https:"):
        connection = http.client.HTTPConnection(host, port)
        connection.sock = deadline.sock
        return connection
    context = tls_context(hook.ca)
    secured = context.wrap_socket(deadline.sock, server_hostname=host, do_handshake_on_connect=False)
    deadline.sock = secured
    secured.do_handshake()
    connection = http.client.HTTPSConnection(host, port, context=context)
    connection.sock = secured
    return connection


class _Deadline:
    """Closes a socket at the end, and cuts it off when its time is over.

    A time-out of each read alone would let the other side drip for ever.
    """

    def __init__(self, sock: socket.socket, after_s: float) -> None:
        self.sock = sock
        self.passed = False
        self._timer = threading.Timer(after_s, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        self.sock.close()

    def _cut(self) -> None:
        self.passed = True
        with contextlib.suppress(OSError):
            # Of a TLS socket this is the plain one's: TLS's own would forget the session that a reader is in.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def _word(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return "tls" if isinstance(error, ssl.SSLError) else "broken"
