"""A real receiver of webhooks, and a log whose events are told of."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.ids import Ids
from mandamus.notify import sender
from mandamus.notify.deliverer import Deliverer
from mandamus.notify.message import Messages
from mandamus.notify.model import Delivery
from mandamus.notify.service import Notify
from mandamus.secrets.service import Secrets

ADA = Subject("ada", "os-user", frozenset({"platform"}), OWNER, "Ada Lovelace")
WAIT_S = 60.0
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclasses.dataclass(frozen=True)
class Got:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent in it."""
        return dict(json.loads(self.body))


def status(code: int, *headers: tuple[str, str], body: bytes = b"") -> Answer:
    """Answer with a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


class Receiver:
    """A web server that takes what is posted, and answers by a list of answers, with 204 behind its end."""

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        self.got: list[Got] = []
        self.answers: list[Answer] = []
        self._came = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._take(Got(self.path, dict(self.headers.items()), body))(self)

            def log_message(self, *_said: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it takes."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}/hook?a=b"

    def wait(self, count: int) -> list[Got]:
        """What came, once so many requests have."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.got) >= count, WAIT_S), f"{len(self.got)} of {count} came"
            return list(self.got)

    def _take(self, got: Got) -> Answer:
        with self._came:
            self.got.append(got)
            self._came.notify_all()
            return self.answers.pop(0) if self.answers else status(204)

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that is signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    day, now = dt.timedelta(days=1), dt.datetime.now(dt.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return str(cert), str(secret)


@pytest.fixture
def tls_receiver(certificate: tuple[str, str]) -> Iterator[Receiver]:
    made = Receiver(certificate)
    yield made
    made.close()


def _verified(got: Got, secret: str) -> bool:
    """Whether a message is signed with a secret: written from the text of Standard Webhooks 1.0, with nothing of ours.

    "The content to sign is composed by concatenating the unique id, timestamp and payload, separated by full-stop";
    the header is "a space delimited list of signatures", each with its version and a comma before it.
    """
    key = base64.b64decode(secret.split("_", 1)[1])
    content = b".".join([got.headers["webhook-id"].encode(), got.headers["webhook-timestamp"].encode(), got.body])
    wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    versions = [each.split(",", 1) for each in got.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(given, wanted) for version, given in versions)


@pytest.fixture(scope="session")
def verified() -> Callable[[Got, str], bool]:
    """An independent verification of a signature."""
    return _verified


@pytest.fixture(scope="session")
def answer() -> Callable[..., Answer]:
    """Makes an answer of a status, headers and a body."""
    return status


def _document(receiver: Receiver | None = None, **more: Any) -> dict[str, Any]:
    hook = None
    if receiver is not None:
        hook = {"url": receiver.url, "secret": {"env": "SECRET"}, "ca": "", "allow_private": ["127.0.0.0/8"]}
    wanted = {"kinds": ["run.*"], "projects": [], "environments": [], "outcomes": [], "groups": [], "active": True}
    return {"webhook": hook, "apprise": None, **wanted, **more}


@pytest.fixture(scope="session")
def document() -> Callable[..., dict[str, Any]]:
    """Makes what the platform file's reader makes of a subscription."""
    return _document


@dataclasses.dataclass
class Ground:
    """A log, and what tells of it."""

    audit: Audit
    database: Any
    clock: Any
    notify: Notify
    deliverer: Deliverer
    environ: dict[str, str]

    def apply(self, **documents: Mapping[str, Any]) -> None:
        """Declare subscriptions."""
        with self.database.begin("test") as tx:
            self.notify.apply(tx, ADA, documents)
        self.audit.flush()

    def happen(self, kind: Kind = Kind.RUN_CANCELLED, **more: Any) -> str:
        """Record an event; gives its id."""
        given = {"resource": Resource("run", "run_1"), "run": "run_1", "who": ADA, "outcome": Outcome.OK, **more}
        with self.database.begin("test") as tx:
            leaf = self.audit.record(tx, Event(kind, **given))
        self.audit.flush()
        return str(json.loads(leaf.bytes)["id"])

    def feed(self, name: str = "hook") -> float | None:
        """Work for a subscription until nothing is to be done at once."""
        while (due_s := self.deliverer.feed(name)) == 0.0:
            pass
        return due_s

    def told(self, name: str | None = None) -> list[Delivery]:
        """Every message, oldest first."""
        return self.notify.deliveries(ADA, name)[::-1]

    def events(self, kind: Kind) -> list[Mapping[str, Any]]:
        """Every event of a kind."""
        return self.audit.told(kind)


@pytest.fixture
def ground(request, home, clock, entropy) -> Ground:
    """An empty log, on SQLite unless a test asks for another database by its parameter."""
    database = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_database")
    audit = Audit(database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
    audit.open(ADA, Signer("log.example.com/home/platform", b"\x08" * 32).vkey)
    environ = {"SECRET": SECRET, "OLD": OLD_SECRET}
    return made_ground(audit, database, home, clock, entropy, environ)


def made_ground(audit: Audit, database: Any, home: Path, clock: Any, entropy: Any, environ: dict[str, str]) -> Ground:
    """What tells of a log, as another process would build it."""

    def load() -> Any:
        raise ImportError("no apprise here")

    console = "https://console.example.com/"
    messages = Messages(lambda: audit.origin, lambda: console, lambda _run, _decision: "because", clock)
    send = partial(sender.send, Secrets(environ, home), clock, load)
    deliverer = Deliverer(database, audit, clock, entropy, messages, send, home / "notify")
    notify = Notify(database, audit, clock, Ids(clock, entropy), messages, send, deliverer, lambda: None)
    return Ground(audit, database, clock, notify, deliverer, environ)


@pytest.fixture
def who() -> Subject:
    """Who may do everything."""
    return ADA
