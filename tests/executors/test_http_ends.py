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
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mandamus.executors import http_child, marks
from mandamus.executors.http import build
from mandamus.executors.model import Cancel, Exit, Marks, SandboxPolicy, Toolbox, Verdict
from mandamus.kernel.errors import Code, MandamusError

SECRET = "correct-horse-battery-staple"
OPEN = SandboxPolicy(network=True, allow_private=("127.0.0.0/8",))


def refused(call, *arguments, **named) -> MandamusError:
    with pytest.raises(MandamusError) as error:
        call(*arguments, **named)
    return error.value


def test_sent_and_unanswered_is_indeterminate(play_http, http, make_task, receiver):
    """A request that was sent and never answered may have taken effect; nobody is told that it failed, or did not."""
    answers: list[Callable[[socket.socket], None] | bytes] = [
        lambda sock: sock.recv(1),  # until they hang up
        lambda sock: sock.close(),
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2",
    ]
    for answer in answers:
        receiver.answer = answer
        workdir = make_task().workdir / str(answers.index(answer))
        timeout = "3s" if answer is answers[0] else "60s"
        spec = {"method": "POST", "url": receiver.url(), "timeout": timeout}
        error = refused(play_http, spec, workdir=workdir, deadline_s=100.0)
        assert error.code is Code.EFFECT_INDETERMINATE
        assert "runs settle run_0 step" in error.remedy
        task = make_task(spec=spec, workdir=workdir, sandbox=OPEN)
        blob = http.plan(task).blob
        assert http.probe(task, blob).verdict is Verdict.UNKNOWN
    receiver.answer = answers[0]
    _, applied = play_http({"url": receiver.url(), "timeout": "1s"})
    assert applied.error.code is Code.STEP_TIMEOUT


def test_what_was_never_sent_is_a_plain_failure(play_http, receiver, receive):
    """No address, no connection, no trust: the step failed and nothing happened."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    deaf = receive(talk=lambda sock: sock.sendall(b"220 hello\r\n"))  # whatever they want
    for url, words in [
        (f"http://127.0.0.1:{port}/", "Connection refused"),
        ("http://no-such-name.invalid/", "has no address"),
        (deaf.url(scheme="https"), "127.0.0.1: "),
    ]:
        _, applied = play_http({"method": "POST", "url": url})
        assert not applied.ok
        assert not applied.partial
        assert applied.error.code is Code.TOOL_FAILED
        assert words in applied.error.message
    silent = {"method": "POST", "url": receiver.url(scheme="https"), "timeout": "1s"}  # it waits for a plain request
    _, applied = play_http(silent)
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
        applied = http.apply(task, blob)
        for sock in waiting:
            sock.close()
    assert applied.error.code is Code.STEP_CANCELLED
    assert not applied.partial
    assert http.probe(task, blob).verdict is Verdict.FAILED


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


def test_tls_is_verified_by_name_and_authority(play_http, runner, receive, authority):
    """A certificate nobody vouches for, or for another name, ends the exchange before anything is sent."""
    trusting = build(Toolbox(runner, {}, {"http_roots": str(authority.roots)}))
    right, wrong = receive(authority("127.0.0.1", "localhost")), receive(authority("elsewhere.example"))
    _, applied = play_http({"method": "POST", "url": right.url(scheme="https"), "json": {}}, executor=trusting)
    assert applied.ok
    _, applied = play_http({"url": right.url(host="localhost", scheme="https")}, executor=trusting)
    assert applied.ok
    assert right.head["Host"] == f"localhost:{right.port}"
    for receiver, executor in [(wrong, trusting), (right, None)]:
        before = len(receiver.requests)
        options = {} if executor is None else {"executor": executor}
        _, applied = play_http({"method": "POST", "url": receiver.url(scheme="https")}, **options)
        assert not applied.ok
        assert not applied.partial
        assert "certificate is not trusted" in applied.error.message
        assert len(receiver.requests) == before


def test_a_probe_tells_what_became_of_a_request(http, play_http, make_task, receiver):
    """Never begun, nothing sent, answered well or badly with its outputs, sent and unknown: each by what is left."""
    spec = {"method": "POST", "url": receiver.url()}
    task, applied = play_http(spec)
    blob = http.plan(make_task(spec=spec, sandbox=OPEN)).blob
    found = http.probe(task, blob)
    assert (found.verdict, found.outputs) == (Verdict.SUCCEEDED, applied.outputs)
    receiver.answer = receiver.reply(500)
    task, applied = play_http(spec)
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
        "timeout_s": 60,
        "answer_bytes_max": 100,
        "folder": str(folder),
    }
    return http_child.Exchange(wire, lambda _host, _port: ["127.0.0.1"], time.monotonic).run()


def test_the_child_says_sent_before_it_sends_and_is_silent_before(tmp_path, receiver):
    """The mark stands before the first byte leaves, and only when a connection stands."""
    seen: list[bool] = []
    receiver.answer = lambda sock: (
        seen.append((tmp_path / http_child.SENT).exists()),
        sock.sendall(receiver.reply(204)),
    )
    answer = exchange(receiver.port, tmp_path, allow=())
    assert (answer["error"], answer["sent"]) == ("denied", False)
    assert not (tmp_path / http_child.SENT).exists()
    answer = exchange(receiver.port, tmp_path)
    assert answer["status"] == 204
    assert seen == [True]
    http_child.leave(tmp_path, answer)
    assert json.loads((tmp_path / http_child.ANSWER).read_bytes()) == answer


def test_an_answer_before_the_body_was_read_counts(tmp_path, receive):
    """A receiver that refuses a large body early and hangs up has answered."""

    def curt(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(receiver.reply(413, b"too large"))

    receiver = receive(talk=curt)
    answer = exchange(receiver.port, tmp_path, body=b"x" * 8_000_000)  # more than the buffers of both sides hold
    assert answer["status"] == 413
