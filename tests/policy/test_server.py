"""A running OPA as the evaluator: it decides as the embedded one does, and whatever goes wrong there is a deny."""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mandamus.bootstrap.house import open_house
from mandamus.kernel import canonical
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy import bundle, check, server_http, server_set
from mandamus.policy.attribution import Attribution
from mandamus.policy.model import BuiltinErrors, Bundle, Options
from mandamus.policy.pool import Limits, WorkerPool
from mandamus.policy.server import OpaServer
from mandamus.policy.server_http import Place
from mandamus.settings import Settings

Write = Callable[[Mapping[str, str]], Path]

NOW = "2026-03-01T12:00:00Z"
BASE = {
    "rules.rego": """package mandamus.plan

import data.limits
import data.lib.names as n
import rego.v1

# data.limits in a comment, and "data" in texts, stay as they are
deny contains msg if {
	n.shouted(input.name) in limits.names
	msg := sprintf("data %s: %v", [input.name, data.limits["max"]])
}

deny contains {"msg": `data.raw`, "data": data.lib.names.shouted("x")} if input.data.limits

warn contains $"{data.limits.max} at most" if input.count > data["limits"].max

warn contains key if some key, _ in data.limits

require_approval contains {"group": "ops", "count": 1, "msg": "late"} if {
	time.clock(time.now_ns())[0] > 11
}
""",
    "lib/names.rego": """package lib.names

import rego.v1

shouted(text) := data.base.up(text)
""",
    "z.rego": "package base\n\nup(text) := upper(text)\n",
    "odd.rego": """package mandamus["plan"]

deny contains "mocked" if data.lib.names.shouted("a") == "B" with data.base.up as "B"

deny contains data.limits.huge if input.huge == data.limits.huge
""",
    "limits/data.json": '{"max": 3, "names": ["ADA"], "huge": 12345678901234567890123, "share": 1.50}',
}
INPUTS = [
    {"point": "plan", "name": "ada", "count": 4, "now": NOW},
    {"point": "plan", "name": "joan", "count": 1, "now": "2026-03-01T08:00:00Z", "data": {"limits": True}},
    {"point": "plan", "name": "Ä\u0000\U0001f600", "count": -1, "now": NOW, "huge": 12345678901234567890123},
    {"point": "step", "name": "ada", "now": NOW},
    {"point": "plan", "name": 7, "now": NOW},
]


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Start a policy server; its port."""
    running = []

    def started(*arguments: str, port: int = 0) -> int:
        command = [sys.executable, str(Path(__file__).parent / "opa_http.py"), str(port), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return int(process.stdout.readline())

    started.stop = lambda: (running[-1].kill(), running[-1].wait())
    yield started
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def connect(real_clock: Clock) -> Iterator[Callable[..., OpaServer]]:
    """An evaluator on a server."""
    opened = []

    def connected(place: Place | int, **limits: float) -> OpaServer:
        where = Place(f"http://127.0.0.1:{place}") if isinstance(place, int) else place
        opened.append(OpaServer(where, real_clock, Limits(**limits)))
        return opened[-1]

    yield connected
    for server in opened:
        server.close()


@pytest.fixture(scope="module")
def checked() -> dict[str, Bundle]:
    """The sets that were made; a check takes longer than a decision."""
    return {}


@pytest.fixture
def made(write: Write, pool: WorkerPool, checked: dict[str, Bundle]) -> Callable[..., Bundle]:
    """A set as it is published."""

    def make(files: Mapping[str, str], options: Options | None = None) -> Bundle:
        key = f"{files} {options}"
        if key not in checked:
            tree = bundle.read(write(files), options)
            found = check.check(tree, pool)
            assert found.problems == ()
            packed = bundle.pack(tree.files, found.entries, tree.options, found.modules, found.older)
            checked[key] = bundle.unpack(packed)
        return checked[key]

    return make


def fault_of(act: Callable[[], object]) -> str:
    with pytest.raises(MandamusError) as caught:
        act()
    assert caught.value.code is Code.POLICY_UNAVAILABLE
    assert caught.value.remedy
    return str(caught.value.context["fault"])


def asked(document: Mapping[str, Any]) -> bytes:
    return canonical.dumps(document)


ALLOWED = {"rules.rego": 'package mandamus.plan\n\ndeny contains "no" if input.bad\n'}
GOOD = asked({"point": "plan", "now": NOW})


def test_it_decides_as_the_embedded_engine(start, connect, made, pool):
    """Imports, aliases, functions of other modules, data in every spelling, mocks, the clock, exact numbers."""
    server, made_set = connect(start()), made(BASE)
    attribution = Attribution(made_set)
    for document in INPUTS:
        data = asked(document)
        try:
            wanted = pool.evaluate(made_set, data)
        except MandamusError as error:
            kind = error.context["fault"]
            assert fault_of(functools.partial(server.evaluate, made_set, data)) == kind
            continue
        assert canonical.dumps(server.evaluate(made_set, data)) == canonical.dumps(wanted)
        assert server.explain(attribution, data) == pool.explain(attribution, data)
    assert server.name == f"opa-server-{pool.name.split('-')[1].split('+')[0]}"
    assert server.healthy()


def test_one_server_holds_many_sets(start, connect, made, pool):
    """Sets with the same packages and data do not meet."""
    server = connect(start())
    sets = [made({**ALLOWED, "data.json": f'{{"n": {n}}}', "b.rego": RULE_N.format(n=n)}) for n in range(3)]
    for each in sets * 2:
        assert server.evaluate(each, GOOD) == pool.evaluate(each, GOOD)


RULE_N = "package mandamus.plan\n\nwarn contains {n} if data.n == {n}\n"


@pytest.mark.parametrize("errors", [BuiltinErrors.ERROR, BuiltinErrors.UNDEFINED])
def test_builtin_errors_mean_what_the_set_says(start, connect, made, pool, errors):
    """A builtin that errs is a deny, or undefined where the set is read with OPA's default."""
    rules = 'package mandamus.plan\n\nwarn contains "n" if to_number(input.n) > 1\n\nwarn contains "always"\n'
    made_set = made({"rules.rego": rules}, Options(builtin_errors=errors))
    server, data = connect(start()), asked({"point": "plan", "n": "z", "now": NOW})
    if errors is BuiltinErrors.ERROR:
        assert fault_of(lambda: server.evaluate(made_set, data)) == "eval_error"
        return
    assert server.evaluate(made_set, data)["mandamus.plan.warn"] == [["set", ["always"]]]


def test_a_server_that_started_anew_is_given_the_set_again(start, connect, made):
    """What was pushed is gone with the process; the next decision pushes it again and is right."""
    port = start()
    server, made_set = connect(port), made(ALLOWED)
    wanted = server.evaluate(made_set, GOOD)
    start.stop()
    assert fault_of(lambda: server.evaluate(made_set, GOOD)) == "engine_missing"
    start(port=port)
    assert server.evaluate(made_set, GOOD) == wanted


def test_a_module_cannot_be_taken_away(start, connect, made, pool):
    """A server keeps every module of a set that it decides by: without one, a rule would be silently gone."""
    port = start()
    server, made_set = connect(port), made(BASE)
    server.evaluate(made_set, GOOD)
    root = server_set.root_of(made_set)

    def send(method: str, path: str, body: bytes | None = None) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", body, method=method)
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own server
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    for name, _ in server_set.settled(made_set).modules:
        assert send("DELETE", f"v1/policies/{name}") == 400
        assert send("PUT", f"v1/policies/{name}", b"package elsewhere\n") == 400
    data = asked(INPUTS[0])
    assert server.evaluate(made_set, data) == pool.evaluate(made_set, data)
    # Without its data a set is undefined, so it is pushed again.
    assert send("DELETE", f"v1/data/{root}") == 204
    assert server.evaluate(made_set, data) == pool.evaluate(made_set, data)
    assert send("DELETE", f"v1/policies/{root}/decide.rego") == 200
    assert server.evaluate(made_set, data) == pool.evaluate(made_set, data)


def test_a_set_that_asks_where_it_is_stays_with_the_embedded_engine(start, connect, made):
    """A rule that looks at its own path would say something else on a server, so it is not asked there."""
    rules = "package mandamus.plan\n\ndeny contains x if {\n\tsome x in rego.metadata.chain()\n}\n"
    made_set = made({"rules.rego": rules})
    server = connect(start())
    assert fault_of(lambda: server.evaluate(made_set, GOOD)) == "compile_error"
    assert server.explain(Attribution(made_set), GOOD) == {}


def test_it_inspects_as_the_embedded_engine(start, connect, pool):
    """Trees, syntax errors and compile errors are the same, in the set's own names; nothing stays on the server."""
    port = start()
    server = connect(port)
    bad = {"a.rego": "package a\n\nx := data.b.f(1)\n", "b.rego": "package b\n\ny := {\n"}
    unsafe = {"a.rego": "package a\n\nx := data.b.f(1)\n", "b.rego": "package b\n\ny := z\n"}
    for modules in (BASE, bad, unsafe):
        texts = {path: text for path, text in modules.items() if path.endswith(".rego")}
        wanted, found = pool.inspect(texts, b'{"limits": {}}'), server.inspect(texts, b'{"limits": {}}')
        assert found.trees == wanted.trees
        assert found.unparsed.keys() == wanted.unparsed.keys()
        assert (found.uncompiled is None) == (wanted.uncompiled is None)
        for path, refusal in wanted.unparsed.items():
            assert refusal.message.split("\n")[-1] == found.unparsed[path].message.split("\n")[-1]
    assert server.inspect(unsafe, b"").uncompiled.message.split("\n") == [
        "a.rego:3: rego_type_error: undefined function data.b.f",
        "b.rego:3: rego_unsafe_var_error: var z is unsafe",
    ]
    asked_twice = server.inspect({"a.rego": "package a\n"}, b"", "nothing(1)").uncompiled
    assert "the query" in asked_twice.message
    assert "mandamus_check" not in asked_twice.message
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/policies") as answer:
        assert json.load(answer) == {"result": [{"id": "mandamus_tools/parse.rego"}]}


def test_a_set_is_pushed_ahead(start, connect, made):
    """Preparing returns at once; then the set is there."""
    server, made_set = connect(start()), made(ALLOWED)
    server.prepare([Attribution(made_set)])
    server._warmer.close()
    assert server._pushed == {server_set.root_of(made_set)}


def test_who_asks_shows_a_token(start, connect, made, tmp_path):
    """The token comes from its file each time; a wrong, missing or odd one is a deny."""
    port, made_set = start("s3cret"), made(ALLOWED)
    token = tmp_path / "token"
    server = connect(Place(f"http://127.0.0.1:{port}", token))
    assert fault_of(lambda: server.evaluate(made_set, GOOD)) == "engine_missing"
    for text in ("wrong", "", "two\nlines", "\u00e9"):
        token.write_text(text)
        assert fault_of(lambda: server.evaluate(made_set, GOOD)) == "engine_missing"
    token.write_text("s3cret\n")
    assert server.evaluate(made_set, GOOD)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_the_server_is_who_it_says(start, connect, made, tmp_path):
    """Over TLS, against the certificates that are given; another one is a deny."""
    cert, key = certificate(tmp_path)
    url, made_set = f"https://127.0.0.1:{start('', str(cert), str(key))}", made(ALLOWED)
    assert connect(Place(url, roots=cert)).evaluate(made_set, GOOD)
    stranger = connect(Place(url))
    assert fault_of(lambda: stranger.evaluate(made_set, GOOD)) == "engine_missing"
    nobody = connect(Place(url, roots=tmp_path / "missing.pem"))
    assert fault_of(lambda: nobody.evaluate(made_set, GOOD)) == "engine_missing"


@pytest.mark.parametrize(
    "url", ["http://opa.example.com:8181", "http://10.0.0.1", "ftp://localhost", "https://", "https://u:p@host", "https://h/?x=1"]
)  # fmt: skip
def test_a_place_that_is_none_is_refused(url):
    """Plain HTTP does not leave the machine, and a URL holds no secret."""
    with pytest.raises(MandamusError) as caught:
        Place(url).check()
    assert caught.value.code is Code.USAGE


def reply(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


OK = "200 OK"
TROUBLES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "worker_lost"),
    "garbage": (b"\x00\xff" * 100 + b"\r\n\r\n", "worker_lost"),
    "cut off": (reply(OK, b'{"result": {}}')[:-4], "worker_lost"),
    "html": (reply(OK, b"<html>"), "reply_invalid"),
    "empty": (reply(OK, b""), "reply_invalid"),
    "list": (reply(OK, b"[]"), "reply_invalid"),
    "truncated json": (reply(OK, b'{"result": {"a": '), "reply_invalid"),
    "twice": (reply(OK, b'{"result": {}, "result": {"a": []}}'), "reply_invalid"),
    "deep": (reply(OK, b'{"result": ' + b"[" * 100_000), "reply_invalid"),
    "packed": (reply(OK, b"\x1f\x8b\x08", "Content-Encoding: gzip"), "reply_invalid"),
    "true": (reply(OK, b'{"result": true}'), "reply_invalid"),
    "an array": (reply(OK, b'{"result": []}'), "reply_invalid"),
    "undefined": (reply(OK, b"{}"), "undefined"),
    "null": (reply(OK, b'{"result": null}'), "undefined"),
    "moved": (reply("302 Found", b"", "Location: http://127.0.0.1:1/"), "reply_invalid"),
    "not let in": (reply("403 Forbidden", b"{}"), "engine_missing"),
    "not found": (reply("404 Not Found", b"{}"), "reply_invalid"),
    "busy": (reply("503 Service Unavailable", b"{}"), "engine_busy"),
    "broken": (reply("500 Internal Server Error", b'{"code": "internal_error", "message": "x"}'), "reply_invalid"),
    "odd error": (reply("500 Internal Server Error", b'{"errors": [1, {"location": 2}]}'), "eval_error"),
    "erred": (reply("500 Internal Server Error", b'{"errors": [{"code": "eval_conflict_error"}]}'), "eval_error"),
}


@pytest.fixture
def odd_server() -> Iterator[Callable[[bytes, float], int]]:
    """A server that takes every set and answers every decision with given bytes, perhaps one after the other."""
    listening = []

    def serve(sock: socket.socket, answer: bytes, pause_s: float) -> None:
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            threading.Thread(target=speak, args=(connection, answer, pause_s), daemon=True).start()

    def speak(connection: socket.socket, answer: bytes, pause_s: float) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65536)
                if not part:
                    return
                head += part
            said = answer if head.startswith(b"POST") else reply("200 OK", b"{}")
            step = 1 if pause_s and head.startswith(b"POST") else len(said) or 1
            try:
                for at in range(0, len(said), step):
                    connection.sendall(said[at : at + step])
                    time.sleep(pause_s if step == 1 else 0)
                # What is unread would turn the end into a reset, which can take the answer with it.
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                return

    def started(answer: bytes, pause_s: float = 0) -> int:
        sock = socket.create_server(("127.0.0.1", 0))
        listening.append(sock)
        threading.Thread(target=serve, args=(sock, answer, pause_s), daemon=True).start()
        return sock.getsockname()[1]

    yield started
    for sock in listening:
        sock.close()


@pytest.mark.parametrize("name", TROUBLES)
def test_every_trouble_is_a_fault(odd_server, connect, made, name):
    """Whatever a server answers that is no decision gives no decision."""
    answer, kind = TROUBLES[name]
    server, made_set = connect(odd_server(answer)), made(ALLOWED)
    assert fault_of(lambda: server.evaluate(made_set, GOOD)) == kind


def test_the_twin_without_trouble_is_allowed(odd_server, connect, made):
    """The same server with a decision for an answer gives that decision: the troubles above are why it is a deny."""
    wanted = {"mandamus.plan.deny": []}
    server = connect(odd_server(reply("200 OK", json.dumps({"result": wanted}).encode())))
    assert server.evaluate(made(ALLOWED), GOOD) == wanted


@pytest.mark.parametrize("what", ["head", "body", "silence"])
def test_a_slow_server_is_a_timeout(odd_server, connect, made, what):
    """The deadline is for the whole answer, not for each byte of it."""
    whole = reply("200 OK", b'{"result": {}}' + b" " * 4000, "X-Pad: " + "x" * 4000 if what == "head" else "X: y")
    server = connect(odd_server(whole, 30 if what == "silence" else 0.01), decide_s=0.5)
    made_set = made(ALLOWED)
    server._have(server_set.root_of(made_set), lambda: server_set.settled(made_set))
    began = time.monotonic()
    assert fault_of(lambda: server.evaluate(made_set, GOOD)) == "timeout"
    # To its last byte each of these would take more than half a minute.
    assert time.monotonic() - began < 25


def test_a_huge_answer_is_refused(odd_server, connect, made, monkeypatch):
    """An answer beyond the limit is not read to its end."""
    monkeypatch.setattr(server_http, "ANSWER_BYTES_MAX", 1 << 20)
    server = connect(odd_server(reply("200 OK", b'{"result": {"a": "' + b"x" * (2 << 20) + b'"}}')))
    assert fault_of(lambda: server.evaluate(made(ALLOWED), GOOD)) == "reply_invalid"


def test_nobody_is_reached_after_the_end(start, connect, made):
    """A closed evaluator says so, and one that was never used closes."""
    server, made_set = connect(start()), made(ALLOWED)
    server.evaluate(made_set, GOOD)
    server.close()
    assert fault_of(lambda: server.evaluate(made_set, GOOD)) == "engine_busy"
    connect(1).close()
    assert connect(1).name == "opa-server-unknown"


def test_a_home_asks_the_server_that_is_set(start, tmp_path):
    """``MANDAMUS_POLICY_URL`` is all it takes; the doctor names the engine, and a place that is none stops it."""
    settings = Settings(policy_url=f"http://127.0.0.1:{start()}")
    house = open_house(settings, {}, tmp_path / "home", None)
    try:
        (finding,) = house.doctor._policy(lambda *_: None)
    finally:
        house.close()
    assert finding.message.startswith("opa-server-1.")
    with pytest.raises(MandamusError) as caught:
        open_house(Settings(policy_url="http://opa.example.com"), {}, tmp_path / "home", None)
    assert caught.value.code is Code.USAGE
