"""What the client does when a server or the line to it fails, against real sockets."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mandamus.client.client import Client
from mandamus.client.transport import TRIES, WAIT_MAX_S
from mandamus.kernel.errors import Code, MandamusError

TOKEN = "mdm_" + "A" * 43 + "000000"
ME = {"user": "ada", "authn": "token", "groups": [], "permissions": [], "behalf_of": None}
RUN = "run_01m89tq850e2cvgwyfb9428ekw"
GIVEN = {
    "id": "apr_1", "step": "s", "attempt": 1, "by": "ada", "verdict": "approved", "group": "", "reason": "",
    "binding": "sha256:" + "0" * 64, "at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
}  # fmt: skip


def problem(status, code="unavailable", *, retryable=False, headers=()):
    """A problem as the server sends it."""
    body = {"type": "t", "title": "t", "status": status, "detail": "d", "code": code, "remedy": "r"}
    return status, {"Content-Type": "application/problem+json", **dict(headers)}, {**body, "retryable": retryable}


DROP = "the connection is closed without an answer"
Answer = tuple[int, dict[str, str], object] | str | Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Stub:
    """A server that answers with what was put in line, the last one again and again."""

    answers: list[Answer]
    url: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def next(self) -> Answer:
        """What to answer now."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def stub(*answers: Answer, context: ssl.SSLContext | None = None) -> Iterator[Stub]:
    made = Stub(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            said = made.next()
            if said == DROP:
                self.close_connection = True
                return
            if callable(said):
                said(self)
                self.close_connection = True
                return
            status, headers, body = said
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the standard library's names

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(waits):
    """Makes a client whose waiting is only noted down."""
    made = []

    def make(url, **options):
        made.append(Client(url, TOKEN, entropy=lambda n: b"\xff" * n, sleep=waits.append, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


OK = (200, {}, ME)


@pytest.mark.parametrize(
    "trouble", [DROP, problem(503, retryable=True), problem(409, "conflict", retryable=True), (502, {}, "<html>")]
)
def test_reading_is_tried_again_with_growing_waits(client, waits, trouble):
    """A dropped line, a server or a proxy that cannot: the same GET again, later each time."""
    with stub(trouble, trouble, OK) as server:
        assert client(server.url).get_me().user == "ada"
        assert len(server.seen) == 3
    assert waits == [0.25, 0.5]


def test_it_is_not_tried_for_ever(client, waits):
    """After so many tries the last problem is raised, as the server said it."""
    with stub(problem(503, retryable=True)) as server:
        with pytest.raises(MandamusError) as raised:
            client(server.url).get_me()
        assert len(server.seen) == TRIES
    assert (raised.value.code, raised.value.message, raised.value.remedy) == (Code.UNAVAILABLE, "d", "r")
    assert max(waits) <= WAIT_MAX_S


@pytest.mark.parametrize(
    "answer", [problem(404, "not_found"), problem(500, "internal"), problem(503), problem(401, "unauthenticated")]
)
def test_what_will_not_change_is_not_tried_again(client, waits, answer):
    """A mistake stays one."""
    with stub(answer) as server:
        with pytest.raises(MandamusError) as raised:
            client(server.url).get_me()
        assert len(server.seen) == 1
    assert raised.value.code.text == answer[2]["code"]
    assert waits == []


def test_a_yes_is_sent_again_under_the_same_key(client):
    """Whoever does not know whether it was heard repeats it with its Idempotency-Key; another yes has another."""
    with stub(DROP, (200, {}, GIVEN)) as server:
        numbers = iter(range(100))
        ours = Client(server.url, TOKEN, entropy=lambda n: bytes([next(numbers)]) * n, sleep=lambda _: None)
        with ours:
            for _ in range(2):
                ours.approve_run(RUN, GIVEN["binding"])
        keys = [headers["idempotency-key"] for _, _, headers in server.seen]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 2


@pytest.mark.parametrize("trouble", [DROP, problem(503, retryable=True)])
def test_what_has_no_key_is_not_sent_twice(client, trouble):
    """It may have been done; whoever asked has to look."""
    for act in (lambda c: c.cancel_run(RUN), lambda c: c.create_token("ci"), lambda c: c.revoke_token("tok_1")):
        with stub(trouble) as server:
            with pytest.raises(MandamusError) as raised:
                act(client(server.url))
            assert len(server.seen) == 1
        assert raised.value.code is Code.UNAVAILABLE


def test_whoever_asks_too_often_waits_as_long_as_told(client, waits):
    """429 was refused before anything was done, so that any request may be sent again."""
    limited = problem(429, "rate_limited", retryable=True, headers={"Retry-After": "3"}.items())
    with stub(limited, (200, {}, {**GIVEN, **ME})) as server:
        with pytest.raises(MandamusError):
            client(server.url).cancel_run(RUN)
        assert len(server.seen) == 2
    assert waits == [3.0]


def test_a_server_that_is_not_there_is_told_of(client, waits):
    """Nothing listens: tried, and then told with the address."""
    with stub(OK) as server:
        url = server.url
    with pytest.raises(MandamusError) as raised:
        client(url).cancel_run(RUN)
    assert (raised.value.code, raised.value.retryable) == (Code.UNAVAILABLE, True)
    assert url in raised.value.message
    assert len(waits) == TRIES - 1


def test_an_answer_that_does_not_come_ends_at_the_time_limit(client):
    """A server that says nothing is as good as none."""
    over = threading.Event()
    with stub(lambda _: over.wait(60)) as server:
        with pytest.raises(MandamusError) as raised:
            client(server.url, timeout_s=0.05).get_ready()
        over.set()
    assert raised.value.code is Code.UNAVAILABLE


def test_an_answer_nobody_knows_is_an_error_of_ours(client):
    """Another version, or no server of ours at all: told as such, and never a traceback."""
    for answer, words in (((200, {}, {"user": 3}), "not what this version knows"), ((418, {}, "tea"), "418")):
        with stub(answer) as server:
            with pytest.raises(MandamusError) as raised:
                client(server.url).get_me()
        assert raised.value.code is Code.INTERNAL
        assert words in raised.value.message
    with stub(problem(404, "not_known_here_yet")) as server, pytest.raises(MandamusError) as raised:
        client(server.url).get_me()
    assert raised.value.context["code"] == "not_known_here_yet"


def events(*numbers, end=False):
    """A stream that tells these and then breaks, or ends."""

    def say(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        texts = [f'id: {n}\nevent: step.started\ndata: {{"seq": {n}}}\n\n' for n in numbers]
        texts += [": still here\n\n", 'id: 9\nevent: end\ndata: {"state": "succeeded"}\n\n' if end else "id: 8\nda"]
        for text in texts:
            handler.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        if end:
            handler.wfile.write(b"0\r\n\r\n")

    return say


def test_a_stream_that_breaks_goes_on_behind_its_last_event(client, waits):
    """Opened again with Last-Event-ID; half an event counts for nothing; waits begin anew when something came."""
    answers = (events(0, 1), DROP, problem(503, retryable=True), events(2), events(3, end=True))
    with stub(*answers) as server:
        told = list(client(server.url).follow_run(RUN))
        asked = [headers.get("last-event-id") for _, _, headers in server.seen]
    assert [each.place for each in told] == [0, 1, 2, 3, 9]
    assert told[-1].kind == "end"
    assert asked == [None, "1", "1", "1", "2"]
    assert waits == [0.25, 0.5, 1.0, 0.25]


def test_a_stream_that_brings_nothing_is_given_up(client):
    """So many times in a row without one event; a token that ended is told at once."""
    for trouble, code, times in (
        (events(), Code.UNAVAILABLE, TRIES),
        (problem(401, "unauthenticated"), Code.UNAUTHENTICATED, 1),
    ):
        with stub(trouble) as server:
            with pytest.raises(MandamusError) as raised:
                list(client(server.url).follow_run(RUN))
            assert len(server.seen) == times
        assert raised.value.code is code


def test_a_stream_that_the_server_stops_says_why(client):
    """What may not go on is raised in the server's words; what may is taken up behind the last event."""

    def stopping(code):
        said = json.dumps({"code": code, "detail": "d", "remedy": "r"})

        def say(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.end_headers()
            handler.wfile.write(f"id: 4\nevent: a\ndata: {{}}\n\nevent: stopped\ndata: {said}\n\n".encode())

        return say

    with stub(stopping("unauthenticated")) as server, pytest.raises(MandamusError) as raised:
        list(client(server.url).follow_run(RUN))
    assert (raised.value.code, raised.value.message) == (Code.UNAUTHENTICATED, "d")
    with stub(stopping("unavailable"), events(5, end=True)) as server:
        assert [each.place for each in client(server.url).follow_run(RUN)] == [4, 5, 9]
        assert [headers.get("last-event-id") for _, _, headers in server.seen] == [None, "4"]


def test_a_token_is_not_sent_where_it_could_be_read(client):
    """Plain http to this machine alone; no credentials in an address; a redirect is not followed."""
    for url in ("http://example.com", "http://10.0.0.1:8400", "http://127.0.0.1.example.com", "http://0.0.0.0:1"):
        with pytest.raises(MandamusError) as raised:
            client(url)
        assert "https://" in raised.value.remedy
    for url in ("https://a:b@example.com", "ftp://example.com", "example.com", "https://example.com/?x=1", ""):
        with pytest.raises(MandamusError) as raised:
            client(url)
        assert raised.value.code is Code.USAGE
    for url in ("http://localhost:1", "http://[::1]:1", "https://example.com/mandamus/"):
        client(url)
    with stub(OK) as other, stub((307, {"Location": "PLACE"}, {})) as server:
        server.answers = [(307, {"Location": f"{other.url}/api/v1/me"}, {})]
        with pytest.raises(MandamusError):
            client(server.url).get_me()
        assert other.seen == []


def test_no_environment_variable_leads_a_token_elsewhere(client, monkeypatch):
    """A proxy that a variable names is not asked."""
    with stub(OK) as proxy, stub(OK) as server:
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        client(server.url).get_me()
        assert (len(proxy.seen), len(server.seen)) == (0, 1)
        assert server.seen[0][2]["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["", " ", "two words", "grüße", "a\nb"])
def test_what_can_be_no_token_is_refused_without_a_word_of_it(token):
    """It would be a header of a request."""
    with pytest.raises(MandamusError) as raised:
        Client("http://localhost:1", token, entropy=bytes)
    assert raised.value.code is Code.USAGE
    assert not token.strip() or token not in json.dumps(raised.value.to_json())


def test_tls_trusts_the_roots_it_is_given_and_nobody_else(client, tmp_path):
    """A certificate of the house's own root is good with that root, and refused without."""
    certificate, key = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with stub(OK, context=context) as server:
        assert client(server.url, roots=certificate).get_me().user == "ada"
        with pytest.raises(MandamusError) as raised:
            client(server.url).get_ready()
        assert "certificate" in raised.value.message
    with pytest.raises(MandamusError) as raised:
        client("https://localhost", roots=key)
    assert raised.value.code is Code.USAGE


def certified(folder):
    """Files of a certificate for 127.0.0.1 that is its own root, and of its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), 1, now, now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key
