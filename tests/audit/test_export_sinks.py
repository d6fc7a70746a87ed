"""Sinks over the network, with real servers: taken only when all was read, whatever a server or a line does."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mandamus.audit import export_http
from mandamus.audit.export_cloudevents import Webhook
from mandamus.audit.export_http import Poster
from mandamus.audit.export_model import Record
from mandamus.audit.export_otlp import Otlp
from mandamus.audit.export_reconcile import read_line
from mandamus.audit.export_syslog import Server, Syslog, message
from mandamus.audit.standard_webhook import genuine, key_of
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TIMEOUT_S = 60.0
SILENCE_S = 2.0
"""The time-out where it is what ends the wait."""


@pytest.fixture
def records(leaf) -> list[Record]:
    """Leaves, the last of them large."""
    made = [
        Record("log.example.com/home", at, leaf("run/1", at, None, id=f"evt_{at}", why="x" * at)) for at in range(9)
    ]
    return [*made, Record("log.example.com/home", 9, leaf("run/1", 9, None, id="evt_9", why="\x1b\n" * 4000))]


# --- syslog over TLS --------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, subject: x509.GeneralName) -> tuple[str, str]:
    """A certificate for a subject, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    common = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    day, now = dt.timedelta(days=1), dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(common, common, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return str(cert), str(secret)


def proper(tls: ssl.SSLSocket, got: list[bytes]) -> None:
    """Read all and say goodbye."""
    while data := tls.recv(65536):
        got.append(data)
    tls.unwrap()


def curt(tls: ssl.SSLSocket, got: list[bytes]) -> None:
    """Read all and close without TLS's own goodbye, as many servers do."""
    while data := tls.recv(65536):
        got.append(data)


def resets(tls: ssl.SSLSocket, got: list[bytes]) -> None:
    """Read a little and reset the connection."""
    got.append(tls.recv(10))
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def leaves_unread(tls: ssl.SSLSocket, got: list[bytes]) -> None:
    """Read a little and close, with the rest unread."""
    got.append(tls.recv(10))


def goes_at_once(tls: ssl.SSLSocket, got: list[bytes]) -> None:
    """Close in order before anything came: the reset comes behind the end."""
    tls.setblocking(False)


def says_goodbye_early(tls: ssl.SSLSocket, got: list[bytes]) -> None:
    """Read a little, and end TLS in order before the rest."""
    got.append(tls.recv(10))
    tls.setblocking(False)
    with suppress(OSError):
        tls.unwrap()


def silent(tls: ssl.SSLSocket, got: list[bytes]) -> None:
    """Read all, and never end."""
    curt(tls, got)
    threading.Event().wait(TIMEOUT_S)


class SyslogServer:
    """A TLS server for one connection after the other, each treated in one manner."""

    def __init__(
        self, cert: tuple[str, str], manner: Callable[[ssl.SSLSocket, list[bytes]], None], ca: str = ""
    ) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*cert)
        if ca:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(ca)
        self.manner = manner
        self.got: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.socket.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as tls:
                    self._treat(tls)
            except OSError:
                plain.close()

    def _treat(self, tls: ssl.SSLSocket) -> None:
        try:
            tls.do_handshake()
        except OSError:
            # The alert is out; closing comes a little later, as in a busy server.
            threading.Event().wait(0.05)
            raise
        self.manner(tls, self.got)

    def close(self) -> None:
        """Stop listening."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(1)  # one that is silent for long is not waited for
        self.socket.close()


@pytest.fixture
def syslog_server(tmp_path: Path) -> Iterator[Callable[..., tuple[SyslogServer, str]]]:
    """Starts a server with a certificate for 127.0.0.1; gives it and the file of who vouches for it."""
    started: list[SyslogServer] = []

    def start(manner: Callable[[ssl.SSLSocket, list[bytes]], None] = proper, ca: str = "") -> tuple[SyslogServer, str]:
        cert = certificate(tmp_path, "server", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        started.append(SyslogServer(cert, manner, ca))
        return started[-1], cert[0]

    yield start
    for each in started:
        each.close()


def _messages(data: bytes) -> list[bytes]:
    """What octet counting says."""
    found = []
    while data:
        count, _, rest = data.partition(b" ")
        found.append(rest[: int(count)])
        data = rest[int(count) :]
    return found


@pytest.mark.parametrize("manner", [proper, curt])
def test_a_syslog_server_gets_each_message_as_it_was(syslog_server, records, manner):
    """Octet counting frames every message, also a large one; each names its leaf, and reads back as it."""
    server, ca = syslog_server(manner)
    Syslog("siem", Server("127.0.0.1", server.port, ca), TIMEOUT_S).take(records)
    got = _messages(b"".join(server.got))
    assert got == [message(each) for each in records]
    assert [getattr(read_line(each), "index", None) for each in got] == list(range(10))


@pytest.mark.parametrize("manner", [resets, leaves_unread, silent])
def test_a_server_that_did_not_read_all_took_nothing(syslog_server, records, manner):
    """A reset, an end with something unread, and a silence past the time are failures that can be tried again."""
    server, ca = syslog_server(manner)
    timeout_s = SILENCE_S if manner is silent else TIMEOUT_S
    with pytest.raises(MandamusError) as caught:
        Syslog("siem", Server("127.0.0.1", server.port, ca), timeout_s).take(records * 200)
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    assert caught.value.retryable


@pytest.mark.parametrize("count", [1, 10])
def test_an_end_that_came_first_is_no_receipt(syslog_server, records, count):
    """A server that closes before our data comes ends its stream as one that has read it: it took nothing."""
    server, ca = syslog_server(goes_at_once)
    for _ in range(40):
        with pytest.raises(MandamusError):
            Syslog("siem", Server("127.0.0.1", server.port, ca), TIMEOUT_S).take(records[:count])


def test_a_goodbye_before_the_end_is_no_receipt(syslog_server, records):
    """A server that ends TLS in order before it read everything took nothing."""
    server, ca = syslog_server(says_goodbye_early)
    with pytest.raises(MandamusError):
        Syslog("siem", Server("127.0.0.1", server.port, ca), TIMEOUT_S).take(records * 20)


def test_a_dead_server_took_nothing(records):
    """Nobody listens: a failure in time."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(MandamusError, match="ConnectionRefused"):
        Syslog("siem", Server("127.0.0.1", port), TIMEOUT_S).take(records)


def test_a_server_nobody_vouches_for_is_told_nothing(syslog_server, records, tmp_path):
    """Another certificate, another name, or none that the system trusts: not one octet of the log is sent."""
    server, ca = syslog_server()
    other, _ = certificate(tmp_path, "other", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    wrong = [
        Server("127.0.0.1", server.port, other),
        Server("127.0.0.1", server.port),
        Server("localhost", server.port, ca),
    ]
    for each in wrong:
        with pytest.raises(MandamusError, match="CERTIFICATE_VERIFY_FAILED"):
            Syslog("siem", each, TIMEOUT_S).take(records)
    assert server.got == []


def test_a_server_may_ask_who_we_are(syslog_server, records, tmp_path):
    """With a certificate of our own it takes the log, and without it does not."""
    cert, key = certificate(tmp_path, "client", x509.DNSName("client"))
    server, ca = syslog_server(ca=cert)
    for _ in range(5):
        with pytest.raises(MandamusError):
            Syslog("siem", Server("127.0.0.1", server.port, ca), TIMEOUT_S).take(records)
    assert server.got == []
    Syslog("siem", Server("127.0.0.1", server.port, ca, cert, key), TIMEOUT_S).take(records)
    assert len(_messages(b"".join(server.got))) == 10


# --- over HTTP --------------------------------------------------------------------------------------------------------


class Receiver:
    """An HTTP server whose answers follow a script of manners; afterwards it takes everything."""

    def __init__(self) -> None:
        self.script: list[str] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer = b"{}"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                manner = outer.script.pop(0) if outer.script else "200"
                outer.take(self, manner)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of the base
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/in?x=1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, handler: BaseHTTPRequestHandler, manner: str) -> None:
        """Answer one request."""
        handler.close_connection = manner != "200"
        if manner == "cut":
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.got.append(({key.lower(): value for key, value in handler.headers.items()}, body))
        if manner == "slow":
            threading.Event().wait(TIMEOUT_S)
            return
        if manner == "mute":
            return
        handler.send_response(200 if manner == "truncated" else int(manner))
        handler.send_header("Location", "http://127.0.0.1:1/")
        handler.send_header("Content-Length", str(len(self.answer) + (90 if manner == "truncated" else 0)))
        handler.end_headers()
        handler.wfile.write(self.answer)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def pauses() -> list[float]:
    """How long was waited between attempts, in seconds."""
    return []


@pytest.fixture
def webhook(receiver: Receiver, pauses: list[float], clock: Clock) -> Webhook:
    return Webhook("hook", Poster("hook", receiver.url, TIMEOUT_S, pauses.append), SECRET, clock)


def test_a_webhook_gets_signed_events_in_order(receiver, webhook, records, clock, pauses):
    """One CloudEvent in each request, signed for now, in the order of the log, over one connection."""
    webhook.take(records)
    assert pauses == []
    events = [json.loads(body) for _, body in receiver.got]
    assert [event["data"]["metadata"]["sequence"] for event in events] == list(range(10))
    for headers, body in receiver.got:
        assert headers["content-type"] == "application/cloudevents+json"
        assert genuine(key_of(SECRET), headers, body, clock.now_us() // 1_000_000)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"evt_{at}" for at in range(10)]
    assert [getattr(read_line(body), "index", None) for _, body in receiver.got] == list(range(10))


@pytest.mark.parametrize("manner", ["500", "503", "429", "cut", "mute", "slow", "truncated"])
def test_a_webhook_that_stumbles_is_tried_again(receiver, records, pauses, clock, manner):
    """Errors of the server and of the line are tried again, spaced, with the same id: nothing is left out."""
    receiver.script = ["200", manner, manner]
    timeout_s = SILENCE_S if manner == "slow" else TIMEOUT_S
    Webhook("hook", Poster("hook", receiver.url, timeout_s, pauses.append), SECRET, clock).take(records[:3])
    taken = [headers["webhook-id"] for headers, _ in receiver.got]
    assert list(dict.fromkeys(taken)) == ["evt_0", "evt_1", "evt_2"]
    assert pauses == [export_http.FIRST_PAUSE_S, export_http.FIRST_PAUSE_S * 2]


@pytest.mark.parametrize(("manner", "tries"), [("500", 4), ("400", 1), ("401", 1), ("410", 1), ("302", 1), ("308", 1)])
def test_a_webhook_that_refuses_took_nothing(receiver, webhook, records, manner, tries):
    """After the attempts, or at once where another could not help, it is a failure; a redirect is never followed."""
    receiver.script = [manner] * 9
    with pytest.raises(MandamusError, match=f"it answers {manner}") as caught:
        webhook.take(records)
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    assert len(receiver.got) == tries


def test_what_a_webhook_says_does_no_harm(receiver, webhook, records):
    """A hostile answer stands in the error as printable ASCII, and not at any length."""
    receiver.answer = b"\x1b[2J\n\xff" * 40_000
    receiver.script = ["400"]
    with pytest.raises(MandamusError) as caught:
        webhook.take(records)
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


def test_a_collector_takes_a_batch_at_once(receiver, records, pauses):
    """One request with all of them, and the token beside it."""
    Otlp("otel", Poster("otel", receiver.url, TIMEOUT_S, pauses.append), "token").take(records)
    (headers, body), *more = receiver.got
    assert more == []
    assert headers["authorization"] == "Bearer token"
    assert len(json.loads(body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]) == 10


@pytest.mark.parametrize(
    "answer", [b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}', b"<html>", b"[]", b'"x"']
)
def test_a_collector_that_rejects_part_took_nothing(receiver, records, pauses, answer):
    """A partial success, or an answer that is none, keeps the cursor where it is."""
    receiver.answer = answer
    with pytest.raises(MandamusError):
        Otlp("otel", Poster("otel", receiver.url, TIMEOUT_S, pauses.append)).take(records)
