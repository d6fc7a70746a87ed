from __future__ import annotations

import os
import socket
import time
from decimal import Decimal
from pathlib import Path

import pytest

from mandamus.executors.http import ANSWER_BYTES_MAX
from mandamus.executors.model import SandboxPolicy
from mandamus.kernel.changeset import Action, Confidence
from mandamus.kernel.document import parse
from mandamus.kernel.errors import Code, MandamusError

SECRET = "correct-horse-battery-staple"
OPEN = SandboxPolicy(network=True, allow_private=("127.0.0.0/8",))


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


def test_the_request_arrives_as_planned(play_http, receiver):
    """Method, path, headers and body are those of the plan; the few that frame the message are ours."""
    receiver.answer = receiver.reply(
        200, b'{"id": 7, "cost": 1.10}', Content_Type="application/json; charset=utf-8", ETag='"x"'
    )
    spec = {
        "method": "POST",
        "url": receiver.url("/a%20b?c[0]=d&e=f"),
        "headers": {"X-Trace": "t-1", "X-Number": 5, "accept": "text/x"},
        "json": {"name": "ü", "n": Decimal("1.50"), "list": [1, None, True]},
    }
    task, applied = play_http(spec)
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


def test_every_method_goes_out_as_itself(play_http, receiver):
    """A request that asks for no change carries neither an idempotency key nor a body."""
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"):
        _, applied = play_http({"method": method, "url": receiver.url()})
        assert applied.ok
        assert receiver.head[""].split()[0] == method
        assert ("Idempotency-Key" in receiver.head) == (method in {"PUT", "PATCH", "DELETE"})
        assert ("Content-Length" in receiver.head) == (method in {"PUT", "PATCH", "DELETE"})
    play_http({"method": "POST", "url": receiver.url(), "body": "plain ü"})
    assert receiver.body == "plain ü".encode()
    assert receiver.head["Content-Type"] == "text/plain; charset=utf-8"
    play_http(
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


def test_every_json_value_is_a_body(play_http, receiver):
    """Also null, false, zero and the empty ones."""
    for value, sent in [(None, b"null"), (False, b"false"), (0, b"0"), ("", b'""'), ({}, b"{}"), ([], b"[]")]:
        assert play_http({"method": "POST", "url": receiver.url(), "json": value})[1].ok
        assert receiver.body == sent
        assert receiver.head["Content-Type"] == "application/json"


def test_the_idempotency_key_names_one_attempt(play_http, receiver):
    """One attempt sends one key, another attempt another, so that a receiver can tell a repetition from a new try."""
    for attempt in (1, 2):
        play_http({"method": "POST", "url": receiver.url()}, attempt=attempt)
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


def test_a_secret_reaches_the_receiver_and_nobody_else(play_http, receiver):
    """The header arrives whole; log, outputs and errors have a mark, also when the receiver sends it back."""
    receiver.answer = lambda sock: sock.sendall(
        receiver.reply(400, f"no: Bearer {SECRET}".encode(), Content_Type="text/plain")
    )
    spec = {"method": "POST", "url": receiver.url(), "headers": {"Authorization": f"Bearer {SECRET}"}}
    task, applied = play_http(spec, secrets={"token": SECRET})
    assert receiver.head["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in task.output.text
    assert SECRET not in str(applied.error.to_json())
    assert "Bearer redacted:" in applied.error.message
    assert SECRET not in str(task.redactor.value(dict(applied.outputs)))


def test_no_secret_is_in_the_process_list(play_http, receiver):
    """While a request is on its way, neither its headers nor its body can be read from any process's arguments."""
    # Words that no other test of this machine hands to a command.
    secret, body = (f"{word}-of-{os.getpid()}-{time.time_ns()}" for word in ("header", "body"))
    seen: list[bytes] = []

    def look(sock: socket.socket) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(path.read_bytes())
            except OSError:
                continue
        sock.sendall(receiver.reply(204))

    receiver.answer = look
    spec = {
        "method": "POST",
        "url": receiver.url(),
        "headers": {"Authorization": secret},
        "json": {"a": body},
    }
    _, applied = play_http(spec, secrets={"token": secret})
    assert applied.ok
    assert any(b"http_child" in line for line in seen)
    assert not any(word.encode() in line for word in (secret, body) for line in seen)


def test_only_an_expected_status_is_a_success(play_http, receiver):
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
        receiver.answer = receiver.reply(status, b"" if status in {204, 304} else b"words")
        spec = {"url": receiver.url(), **({"expect": {"status": expect}} if expect else {})}
        _, applied = play_http(spec)
        assert applied.ok is ok
        assert applied.outputs["status"] == status
        assert applied.partial is not ok
        if not ok:
            assert applied.error.code is Code.TOOL_FAILED
            assert str(status) in applied.error.message


def test_no_redirect_is_followed(play_http, receiver):
    """A redirect is an answer like any other: the chain ends at its first link, and the step says where it points."""
    for status in (301, 302, 303, 307, 308):
        receiver.answer = receiver.reply(status, Location=receiver.url("/next"))
        _, applied = play_http({"method": "POST", "url": receiver.url("/first"), "expect": {"status": [status]}})
        assert applied.ok
        assert applied.outputs["headers"]["location"] == receiver.url("/next")
    assert [request.split()[1] for request in receiver.requests] == [b"/first"] * 5
    receiver.answer = receiver.reply(302, Location=receiver.url("/next"))
    assert not play_http({"url": receiver.url("/first")})[1].ok


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
def test_answers_become_outputs_that_can_be_recorded(play_http, receiver, body, kind, expected):
    """Exact JSON is given as data; whatever else a receiver says is bounded text, and the step goes on."""
    receiver.answer = receiver.reply(200, body, Content_Type=kind)
    _, applied = play_http({"url": receiver.url()})
    assert applied.ok
    assert {key: value for key, value in applied.outputs.items() if key not in {"status", "headers"}} == expected


def test_an_endless_or_broken_body_does_not_undo_a_known_status(play_http, receiver):
    """Once the status is known the effect is known: a body that never ends or breaks off is cut and marked."""

    def endless(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(b"y" * 65536)

    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        sock.recv(1)  # until they hang up

    short = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc"
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz"
    for answer, length in [(endless, ANSWER_BYTES_MAX), (drip, 3), (short, 3), (chunk, 3)]:
        receiver.answer = answer
        # Only the slow one is ended by the clock.
        timeout = "3s" if answer is drip else "60s"
        _, applied = play_http({"method": "POST", "url": receiver.url(), "timeout": timeout}, deadline_s=100.0)
        assert applied.ok
        assert applied.outputs["truncated"]
        assert len(applied.outputs["body"]) == length
    receiver.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    _, applied = play_http({"url": receiver.url()})
    assert (applied.outputs["body"], "truncated" in applied.outputs) == ("abcde", False)


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


def test_proxies_of_the_platform_are_not_used(play_http, receiver, monkeypatch):
    """Where a request goes is decided by its url alone."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}/")
        proxy.settimeout(0.1)
        assert play_http({"url": receiver.url()})[1].ok
        assert play_http({"url": receiver.url()}, sandbox=SandboxPolicy("none", True, OPEN.allow_private))[1].ok
        with pytest.raises(TimeoutError):
            proxy.accept()
    assert len(receiver.requests) == 2
