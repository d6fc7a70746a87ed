from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mandamus.executors import http_child, marks
from mandamus.executors.http import ANSWER_BYTES_MAX, build
from mandamus.executors.model import Cancel, Exit, Marks, SandboxPolicy, Toolbox, Verdict
from mandamus.kernel.changeset import Action, Confidence
from mandamus.kernel.document import parse
from mandamus.kernel.errors import Code, MandamusError

SECRET = "correct-horse-battery-staple"
OPEN = SandboxPolicy(network=True, allow_private=("127.0.0.0/8",))


class Receiver:
    """A loopback listener that keeps every request, byte for byte, and answers what it is told to."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.answer: bytes | Callable[[socket.socket], None] = reply(204)
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Where it listens."""
        return f"{scheme}://{host}:{self.port}{path}"

    @property
    def head(self) -> dict[str, str]:
        """The headers of the last request."""
        lines = self.requests[-1].split(b"\r\n\r\n")[0].decode().split("\r\n")
        return {"": lines[0], **dict(line.split(": ", 1) for line in lines[1:])}

    @property
    def body(self) -> bytes:
        """The body of the last request."""
        return self.requests[-1].split(b"\r\n\r\n", 1)[1]

    def close(self) -> None:
        """Stop listening; not before nobody waits on the descriptor, whose number the next receiver gets."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                self.requests.append(_read(sock))
                if callable(self.answer):
                    self.answer(sock)
                else:
                    sock.sendall(self.answer)
        except OSError:
            return


def _read(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0)
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def http(runner):
    return build(Toolbox(runner, {}))


@pytest.fixture
def play(http, make_task, tmp_path):
    """Plans and applies a spec as a run does."""
    count = iter(range(1_000_000))

    def do(spec, *, executor=http, **fields):
        fields = {"sandbox": OPEN, "workdir": tmp_path / f"work{next(count)}", **fields}
        planned = executor.plan(make_task(phase="plan", spec=spec, **fields))
        task = make_task(spec=spec, **fields)
        return task, executor.apply(task, planned.blob)

    return do


def refused(call, *arguments, **named) -> MandamusError:
    with pytest.raises(MandamusError) as error:
        call(*arguments, **named)
    return error.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{url: 'https://example.com/a?b=c'}", ""),
        ("{method: POST, url: '${{ env.vars.hook }}', json: {a: '${{ inputs.a }}'}, expect: {status: [200, 204]}}", ""),
        ("{method: PUT, url: 'http://x/', body: '', headers: {X-A: 1, X-B: true}, timeout: 5s}", ""),
        ("{}", "`http` needs the key `url`"),
        ("{url: ''}", "`url` is empty"),
        ("{url: [a]}", "`url` is a string"),
        ("{url: ftp://x/}", "neither http:// nor https://"),
        ("{url: 'http://u:p@x/'}", "user name"),
        ("{url: 'http://x/#a'}", "fragment"),
        ("{url: 'http://x/ü'}", "percent-encoded"),
        ("{url: 'http://x:99999/'}", "port"),
        ("{url: 'http://x/', method: TRACE}", "`method` cannot be `TRACE`"),
        ("{url: 'http://x/', method: post}", "choose from `GET`"),
        ("{url: 'http://x/', json: {}}", "a GET carries no `json`"),
        ("{url: 'http://x/', method: POST, json: 1, body: x}", "both `json` and `body`"),
        ("{url: 'http://x/', header: {}}", "did you mean `headers`?"),
        ("{url: 'http://x/', headers: {'A B': x}}", "no name for a header"),
        ("{url: 'http://x/', headers: {'A:': x}}", "no name for a header"),
        ('{url: "http://x/", headers: {"A\\r\\nB": x}}', "no name for a header"),
        ('{url: "http://x/", headers: {A: "x\\r\\nB: y"}}', "line end"),
        ("{url: 'http://x/', headers: {A: ' x'}}", "white space"),
        ("{url: 'http://x/', headers: {A: x, a: y}}", "stands twice"),
        ("{url: 'http://x/', headers: {Host: x}}", "set by the platform"),
        ("{url: 'http://x/', headers: {content-length: 3}}", "set by the platform"),
        ("{url: 'http://x/', headers: {Transfer-Encoding: chunked}}", "set by the platform"),
        ("{url: 'http://x/', headers: {A: [x]}}", "not list"),
        ("{url: 'http://x/', headers: {A: null}}", "not null"),
        ("{url: 'http://x/', expect: {}}", "needs the key `status`"),
        ("{url: 'http://x/', expect: {status: []}}", "empty"),
        ("{url: 'http://x/', expect: {status: [99]}}", "is 99"),
        ("{url: 'http://x/', expect: {status: 200}}", "is a list"),
        ("{url: 'http://x/', timeout: 5}", "`timeout` is a duration"),
    ],
)
def test_a_spec_is_checked_before_anything_is_sent(http, text, expected):
    """Every mistake in a step's spec is told with its place; a right one has no problem."""
    found = [str(problem) for problem in http.validate(parse(text.encode(), "w.yaml"))]
    if not expected:
        assert found == []
    else:
        assert len(found) == 1
        assert expected in found[0]
        assert found[0].startswith("w.yaml:1:")


def test_the_request_arrives_as_planned(play, receiver):
    """Method, path, headers and body are those of the plan; the few that frame the message are ours."""
    receiver.answer = reply(200, b'{"id": 7, "cost": 1.10}', Content_Type="application/json; charset=utf-8", ETag='"x"')
    spec = {
        "method": "POST",
        "url": receiver.url("/a%20b?c[0]=d&e=f"),
        "headers": {"X-Trace": "t-1", "X-Number": 5, "accept": "text/x"},
        "json": {"name": "ü", "n": Decimal("1.50"), "list": [1, None, True]},
    }
    task, applied = play(spec)
    assert applied.ok
    assert receiver.head == {
        "": "POST /a%20b?c[0]=d&e=f HTTP/1.1",
        "Host": f"127.0.0.1:{receiver.port}",
        "User-Agent": "mandamus",
        "Content-Type": "application/json",
        "Idempotency-Key": "run_0-step-1",
        "X-Trace": "t-1",
        "X-Number": "5",
        "accept": "text/x",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Length": str(len(receiver.body)),
    }
    assert receiver.body == '{"list":[1,null,true],"n":1.50,"name":"ü"}'.encode()
    assert applied.outputs == {
        "status": 200,
        "headers": {"content-type": "application/json; charset=utf-8", "etag": '"x"'},
        "json": {"id": 7, "cost": Decimal("1.10")},
    }
    assert f"connected to 127.0.0.1 port {receiver.port}" in task.output.text
    assert "answered 200" in task.output.text


def test_every_method_goes_out_as_itself(play, receiver):
    """A request that asks for no change carries neither an idempotency key nor a body."""
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"):
        _, applied = play({"method": method, "url": receiver.url()})
        assert applied.ok
        assert receiver.head[""].split()[0] == method
        assert ("Idempotency-Key" in receiver.head) == (method in {"PUT", "PATCH", "DELETE"})
        assert ("Content-Length" in receiver.head) == (method in {"PUT", "PATCH", "DELETE"})
    play({"method": "POST", "url": receiver.url(), "body": "plain ü"})
    assert receiver.body == "plain ü".encode()
    assert receiver.head["Content-Type"] == "text/plain; charset=utf-8"
    play(
        {
            "method": "POST",
            "url": receiver.url(),
            "body": "x",
            "headers": {"content-type": "a/b", "idempotency-key": "k"},
        }
    )
    assert (receiver.head["content-type"], receiver.head["idempotency-key"]) == ("a/b", "k")
    assert "Content-Type" not in receiver.head
    assert "Idempotency-Key" not in receiver.head


def test_every_json_value_is_a_body(play, receiver):
    """Also null, false, zero and the empty ones."""
    for value, sent in [(None, b"null"), (False, b"false"), (0, b"0"), ("", b'""'), ({}, b"{}"), ([], b"[]")]:
        assert play({"method": "POST", "url": receiver.url(), "json": value})[1].ok
        assert receiver.body == sent
        assert receiver.head["Content-Type"] == "application/json"


def test_the_idempotency_key_names_one_attempt(play, receiver):
    """One attempt sends one key, another attempt another, so that a receiver can tell a repetition from a new try."""
    for attempt in (1, 2):
        play({"method": "POST", "url": receiver.url()}, attempt=attempt)
    keys = [request.split(b"Idempotency-Key: ")[1].split(b"\r\n")[0] for request in receiver.requests]
    assert keys == [b"run_0-step-1", b"run_0-step-2"]


def test_the_plan_shows_the_exact_request_and_sends_nothing(http, make_task, receiver):
    """One opaque change with method, url, headers and body; secrets are marks; nobody hears of it."""
    spec = {"method": "POST", "url": receiver.url(), "headers": {"Authorization": f"Bearer {SECRET}"}, "json": {"a": 1}}
    planned = http.plan(make_task(phase="plan", spec=spec, sandbox=OPEN, secrets={"token": SECRET}))
    (change,) = planned.change_set.changes
    assert (change.action, change.confidence, change.type) == (Action.RUN, Confidence.OPAQUE, "http")
    assert change.after["url"] == receiver.url()
    assert change.after["json"] == {"a": 1}
    assert change.after["headers"]["Authorization"].startswith("Bearer redacted:")
    assert change.sensitive == ("/headers/Authorization",)
    assert SECRET.encode() not in planned.blob + planned.change_set.to_bytes()
    assert receiver.requests == []


def test_a_secret_reaches_the_receiver_and_nobody_else(play, receiver):
    """The header arrives whole; log, outputs and errors have a mark, also when the receiver sends it back."""
    receiver.answer = lambda sock: sock.sendall(reply(400, f"no: Bearer {SECRET}".encode(), Content_Type="text/plain"))
    spec = {"method": "POST", "url": receiver.url(), "headers": {"Authorization": f"Bearer {SECRET}"}}
    task, applied = play(spec, secrets={"token": SECRET})
    assert receiver.head["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in task.output.text
    assert SECRET not in str(applied.error.to_json())
    assert "Bearer redacted:" in applied.error.message
    assert SECRET not in str(task.redactor.value(dict(applied.outputs)))


def test_no_secret_is_in_the_process_list(play, receiver):
    """While a request is on its way, neither its headers nor its body can be read from any process's arguments."""
    seen: list[bytes] = []

    def look(sock: socket.socket) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(path.read_bytes())
            except OSError:
                continue
        sock.sendall(reply(204))

    receiver.answer = look
    spec = {
        "method": "POST",
        "url": receiver.url(),
        "headers": {"Authorization": SECRET},
        "json": {"a": "body-token-9"},
    }
    _, applied = play(spec, secrets={"token": SECRET})
    assert applied.ok
    assert any(b"http_child" in line for line in seen)
    assert not any(SECRET.encode() in line or b"body-token-9" in line for line in seen)


def test_only_an_expected_status_is_a_success(play, receiver):
    """Without a word, 200 to 299; with ``expect``, exactly what it lists. A failure keeps what the receiver said."""
    for status, expect, ok in [
        (200, None, True),
        (299, None, True),
        (304, None, False),
        (404, None, False),
        (500, None, False),
        (200, [201], False),
        (404, [404], True),
        (202, [200, 202], True),
    ]:
        receiver.answer = reply(status, b"" if status in {204, 304} else b"words")
        spec = {"url": receiver.url(), **({"expect": {"status": expect}} if expect else {})}
        _, applied = play(spec)
        assert applied.ok is ok
        assert applied.outputs["status"] == status
        assert applied.partial is not ok
        if not ok:
            assert applied.error.code is Code.TOOL_FAILED
            assert str(status) in applied.error.message


def test_no_redirect_is_followed(play, receiver):
    """A redirect is an answer like any other: the chain ends at its first link, and the step says where it points."""
    for status in (301, 302, 303, 307, 308):
        receiver.answer = reply(status, Location=receiver.url("/next"))
        _, applied = play({"method": "POST", "url": receiver.url("/first"), "expect": {"status": [status]}})
        assert applied.ok
        assert applied.outputs["headers"]["location"] == receiver.url("/next")
    assert [request.split()[1] for request in receiver.requests] == [b"/first"] * 5
    receiver.answer = reply(302, Location=receiver.url("/next"))
    assert not play({"url": receiver.url("/first")})[1].ok


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b'{"a": [1, 2.50]}', "application/json", {"json": {"a": [1, Decimal("2.50")]}}),
        (b'{"a": 1}', "application/problem+json", {"json": {"a": 1}}),
        (b'{"a": 1}', "text/plain", {"body": '{"a": 1}'}),
        (b'{"a": ', "application/json", {"body": '{"a": '}),
        (b'{"a": 1, "a": 2}', "application/json", {"body": '{"a": 1, "a": 2}'}),
        (b'{"a": "\\ud800"}', "application/json", {"body": '{"a": "\\ud800"}'}),
        (b"[" * 200 + b"]" * 200, "application/json", {"body": "[" * 200 + "]" * 200}),
        (b"[" * 100_000 + b"]" * 100_000, "application/json", {"body": "[" * 100_000 + "]" * 100_000}),
        (b"NaN", "application/json", {"body": "NaN"}),
        (b"\xff\x00\xfe", "application/octet-stream", {"body": "\ufffd\x00\ufffd"}),
        (b"", "application/json", {"body": ""}),
        (b"x" * (ANSWER_BYTES_MAX + 10), "text/plain", {"body": "x" * ANSWER_BYTES_MAX, "truncated": True}),
    ],
)
def test_answers_become_outputs_that_can_be_recorded(play, receiver, body, kind, expected):
    """Exact JSON is given as data; whatever else a receiver says is bounded text, and the step goes on."""
    receiver.answer = reply(200, body, Content_Type=kind)
    _, applied = play({"url": receiver.url()})
    assert applied.ok
    assert {key: value for key, value in applied.outputs.items() if key not in {"status", "headers"}} == expected


def test_an_endless_or_broken_body_does_not_undo_a_known_status(play, receiver):
    """Once the status is known the effect is known: a body that never ends or breaks off is cut and marked."""

    def endless(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(b"y" * 65536)

    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        time.sleep(5)

    short = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc"
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz"
    for answer, length in [(endless, ANSWER_BYTES_MAX), (drip, 3), (short, 3), (chunk, 3)]:
        receiver.answer = answer
        _, applied = play({"method": "POST", "url": receiver.url(), "timeout": "1s"})
        assert applied.ok
        assert applied.outputs["truncated"]
        assert len(applied.outputs["body"]) == length
    receiver.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    _, applied = play({"url": receiver.url()})
    assert (applied.outputs["body"], "truncated" in applied.outputs) == ("abcde", False)


def test_sent_and_unanswered_is_indeterminate(play, http, make_task, receiver):
    """A request that was sent and never answered may have taken effect; nobody is told that it failed, or did not."""
    answers: list[Callable[[socket.socket], None] | bytes] = [
        lambda _sock: time.sleep(5),
        lambda sock: sock.close(),
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2",
    ]
    for answer in answers:
        receiver.answer = answer
        workdir = make_task().workdir / str(answers.index(answer))
        spec = {"method": "POST", "url": receiver.url(), "timeout": "1s"}
        error = refused(play, spec, workdir=workdir)
        assert error.code is Code.EFFECT_INDETERMINATE
        assert "runs settle run_0 step" in error.remedy
        task = make_task(spec=spec, workdir=workdir, sandbox=OPEN)
        blob = http.plan(task).blob
        assert http.probe(task, blob).verdict is Verdict.UNKNOWN
    receiver.answer = lambda _sock: time.sleep(5)
    _, applied = play({"url": receiver.url(), "timeout": "1s"})
    assert applied.error.code is Code.STEP_TIMEOUT


def test_what_was_never_sent_is_a_plain_failure(play, receiver):
    """No address, no connection, no trust: the step failed and nothing happened."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    class Deaf(Receiver):
        """Says hello in plain text to whoever connects, whatever they want."""

        def _one(self, sock: socket.socket) -> None:
            sock.sendall(b"220 hello\r\n")
            sock.close()

    deaf = Deaf()
    for url, words in [
        (f"http://127.0.0.1:{port}/", "Connection refused"),
        ("http://no-such-name.invalid/", "has no address"),
        (deaf.url(scheme="https"), "127.0.0.1: "),
    ]:
        _, applied = play({"method": "POST", "url": url})
        assert not applied.ok
        assert not applied.partial
        assert applied.error.code is Code.TOOL_FAILED
        assert words in applied.error.message
    deaf.close()
    silent = {"method": "POST", "url": receiver.url(scheme="https"), "timeout": "1s"}  # it waits for a plain request
    _, applied = play(silent)
    assert (applied.error.code, applied.partial) == (Code.STEP_TIMEOUT, False)


def test_a_cancel_before_anything_was_sent_is_a_cancel(http, make_task):
    """While the connection is being made, a cancel changes nothing outside and is told as one."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        cancel = Cancel()
        spec = {"method": "POST", "url": f"http://127.0.0.1:{full.getsockname()[1]}/"}
        task = make_task(spec=spec, sandbox=OPEN, cancel=cancel)
        blob = http.plan(task).blob
        threading.Timer(1.0, cancel.set).start()
        begun_s = time.monotonic()
        applied = http.apply(task, blob)
        for sock in waiting:
            sock.close()
    assert applied.error.code is Code.STEP_CANCELLED
    assert not applied.partial
    assert time.monotonic() - begun_s < 5
    assert http.probe(task, blob).verdict is Verdict.FAILED


def test_a_pool_without_network_says_so_when_planning(http, make_task):
    """The plan stops with what to set; without a sandbox there is no such wall and nothing to say."""
    spec = {"url": "http://example.com/"}
    error = refused(http.plan, make_task(spec=spec))
    assert error.code is Code.ENVIRONMENT_INVALID
    assert "network: true" in error.remedy
    http.plan(make_task(spec=spec, sandbox=SandboxPolicy(mode="none")))


def test_values_that_no_request_can_carry_stop_the_plan(http, make_task):
    """Line ends in headers, lists, bodies and headers over the limit: an error before anybody approves."""
    base = {"method": "POST", "url": "http://example.com/"}
    for part, words in [
        ({"headers": {"A": "x\r\nB: y"}}, "line end"),
        ({"headers": {"A": "x\ny"}}, "line end"),
        ({"headers": {"A": "x\0y"}}, "control"),
        ({"headers": {"A": "x\x7f"}}, "control"),
        ({"headers": {"A": "x "}}, "white space"),
        ({"headers": {"A": [1]}}, "is a list"),
        ({"headers": {"A": "x" * 40_000}}, "headers take over"),
        ({"body": {"a": 1}}, "is a map"),
        ({"body": "x" * 2_000_000}, "body is over"),
        ({"json": "x" * 2_000_000}, "body is over"),
        ({"json": "\ud800"}, "canonical JSON"),
        ({"url": "http://a/\r\nB: c"}, "percent-encoded"),
        ({"url": 7}, "no text"),
    ]:
        error = refused(http.plan, make_task(spec={**base, **part}, sandbox=OPEN))
        assert error.code is Code.VALUE_INVALID
        assert words in error.message


def test_proxies_of_the_platform_are_not_used(play, receiver, monkeypatch):
    """Where a request goes is decided by its url alone."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}/")
        proxy.settimeout(0.1)
        assert play({"url": receiver.url()})[1].ok
        assert play({"url": receiver.url()}, sandbox=SandboxPolicy("none", True, OPEN.allow_private))[1].ok
        with pytest.raises(TimeoutError):
            proxy.accept()
    assert len(receiver.requests) == 2


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A private certificate authority: ``issue(*names)`` gives a server context, ``roots`` its certificate's file."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
    now = dt.datetime.now(dt.UTC)

    def certificate(name, key, extensions):
        builder = x509.CertificateBuilder(ca_name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    key_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(*(name in {5, 6} for name in range(9)))  # certificate and CRL signing
    roots = folder / "roots.pem"
    roots.write_bytes(
        certificate(ca_name, ca_key, [(x509.BasicConstraints(True, None), True), (key_id, False), (usage, True)])
    )

    def issue(*names: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        kinds = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        pem = certificate(name, key, [(x509.SubjectAlternativeName(kinds), False), (issuer, False)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = folder / f"{names[0]}.pem"
        path.write_bytes(pem + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    issue.roots = roots
    return issue


def test_tls_is_verified_by_name_and_authority(play, runner, authority):
    """A certificate nobody vouches for, or for another name, ends the exchange before anything is sent."""
    trusting = build(Toolbox(runner, {}, {"http_roots": str(authority.roots)}))
    right, wrong = Receiver(authority("127.0.0.1", "localhost")), Receiver(authority("elsewhere.example"))
    try:
        _, applied = play({"method": "POST", "url": right.url(scheme="https"), "json": {}}, executor=trusting)
        assert applied.ok
        _, applied = play({"url": right.url(host="localhost", scheme="https")}, executor=trusting)
        assert applied.ok
        assert right.head["Host"] == f"localhost:{right.port}"
        for receiver, executor in [(wrong, trusting), (right, None)]:
            before = len(receiver.requests)
            options = {} if executor is None else {"executor": executor}
            _, applied = play({"method": "POST", "url": receiver.url(scheme="https")}, **options)
            assert not applied.ok
            assert not applied.partial
            assert "certificate is not trusted" in applied.error.message
            assert len(receiver.requests) == before
    finally:
        right.close()
        wrong.close()


def test_a_probe_tells_what_became_of_a_request(http, play, make_task, receiver):
    """Never begun, nothing sent, answered well or badly with its outputs, sent and unknown: each by what is left."""
    spec = {"method": "POST", "url": receiver.url()}
    task, applied = play(spec)
    blob = http.plan(make_task(spec=spec, sandbox=OPEN)).blob
    found = http.probe(task, blob)
    assert (found.verdict, found.outputs) == (Verdict.SUCCEEDED, applied.outputs)
    receiver.answer = reply(500)
    task, applied = play(spec)
    found = http.probe(task, blob)
    assert (found.verdict, found.outputs) == (Verdict.FAILED, applied.outputs)

    def left(name: str, *, sent: bool, started: bool = True, ended: bool = False, answer: dict | None = None):
        task = make_task(spec=spec, sandbox=OPEN, workdir=make_task().workdir / name)
        mark = Marks(task.marks, task.phase)
        if started:
            marks.started(mark)
        if sent:
            (task.box / http_child.SENT).write_bytes(b"")
        if answer is not None:
            http_child.leave(task.box, answer)
        if ended:
            marks.ended(mark, Exit(code=137, duration_s=1.0, cancelled=True))
        return task

    answer = {"status": 204, "headers": [], "body": "", "whole": True}
    refusal = {"error": "connect", "detail": "Connection refused", "sent": False}
    assert http.probe(left("a", sent=False, started=False), blob).verdict is Verdict.NOT_STARTED
    assert http.probe(left("b", sent=False), blob).verdict is Verdict.NOT_STARTED
    assert http.probe(left("c", sent=True), blob).verdict is Verdict.UNKNOWN
    assert http.probe(left("d", sent=True, ended=True), blob).verdict is Verdict.UNKNOWN
    assert http.probe(left("e", sent=True, answer=answer), blob).verdict is Verdict.SUCCEEDED
    assert http.probe(left("f", sent=False, ended=True), blob).verdict is Verdict.FAILED
    found = http.probe(left("g", sent=False, ended=True, answer=refusal), blob)
    assert (found.verdict, found.detail) == (Verdict.FAILED, "Connection refused")
    safe = http.plan(make_task(spec={"url": receiver.url()}, sandbox=OPEN)).blob
    assert http.probe(left("h", sent=True), safe).verdict is Verdict.NOT_STARTED


def exchange(port: int, folder: Path, *, body: bytes = b"", allow: tuple[str, ...] = ("127.0.0.1/32",)) -> dict:
    """One exchange of the child itself, in this process."""
    wire = {
        "method": "POST",
        "scheme": "http",
        "host": "x",
        "port": port,
        "target": "/",
        "headers": [["Host", "x"], ["Content-Length", str(len(body))]],
        "body": base64.b64encode(body).decode(),
        "allow": list(allow),
        "roots": "",
        "timeout_s": 5,
        "answer_bytes_max": 100,
        "folder": str(folder),
    }
    return http_child.Exchange(wire, lambda _host, _port: ["127.0.0.1"], time.monotonic).run()


def test_the_child_says_sent_before_it_sends_and_is_silent_before(tmp_path, receiver):
    """The mark stands before the first byte leaves, and only when a connection stands."""
    seen: list[bool] = []
    receiver.answer = lambda sock: (seen.append((tmp_path / http_child.SENT).exists()), sock.sendall(reply(204)))
    answer = exchange(receiver.port, tmp_path, allow=())
    assert (answer["error"], answer["sent"]) == ("denied", False)
    assert not (tmp_path / http_child.SENT).exists()
    answer = exchange(receiver.port, tmp_path)
    assert answer["status"] == 204
    assert seen == [True]
    http_child.leave(tmp_path, answer)
    assert json.loads((tmp_path / http_child.ANSWER).read_bytes()) == answer


def test_an_answer_before_the_body_was_read_counts(tmp_path):
    """A receiver that refuses a large body early and hangs up has answered."""

    class Curt(Receiver):
        """Reads no more than the first bytes."""

        def _one(self, sock: socket.socket) -> None:
            with sock:
                self.requests.append(sock.recv(1000))
                sock.sendall(reply(413, b"too large"))
                time.sleep(0.1)

    curt = Curt()
    answer = exchange(curt.port, tmp_path, body=b"x" * 8_000_000)  # more than the buffers of both sides hold
    curt.close()
    assert answer["status"] == 413
