"""One attempt at a webhook: where it goes, how long it takes, and what counts as taken."""

from __future__ import annotations

import socket
import time

import pytest

from mandamus.notify import webhook
from mandamus.notify.model import Message, Webhook
from mandamus.notify.webhook import Webhooks, resolve
from mandamus.secrets.model import SecretRef
from mandamus.secrets.service import Secrets

LOOPBACK = ("127.0.0.0/8",)
MESSAGE = Message("evt_1", {"id": "evt_1"}, "title", "text")


@pytest.fixture
def send(home, clock, receiver):
    """Makes one attempt, at the receiver unless a URL is given."""
    secrets = Secrets({"SECRET": "whsec_" + "a" * 40, "BAD": "whsec_none!"}, home)

    def sent(url="", *, allow=LOOPBACK, resolver=resolve, timeout_s=60.0, ca="", known_as="SECRET"):
        hook = Webhook(url or receiver.url, SecretRef(env=known_as), None, ca, allow)
        return Webhooks(secrets, clock, resolver, timeout_s).send(hook, MESSAGE)

    return sent


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_answer_of_success_counts(send, receiver, answer, code):
    """Whatever the receiver says with it is not read."""
    receiver.answers = [answer(code)]
    assert send().ok


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(send, receiver, answer, code):
    """It is a refusal like any other: whoever answers cannot lead us to another place."""
    receiver.answers = [answer(code, ("Location", receiver.url))]
    found = send()
    assert (found.error, found.hopeless) == (f"status-{code}", False)
    assert len(receiver.got) == 1


@pytest.mark.parametrize("code", [400, 401, 404, 410, 500, 503])
def test_any_other_answer_does_not(send, receiver, answer, code):
    """Also one that says that the request is at fault: the receiver may be mended."""
    receiver.answers = [answer(code, body=b"no")]
    found = send()
    assert (found.error, found.detail) == (f"status-{code}", f"it answers {code} no")
    assert found.gone == (code == 410)


def _torn(said):
    def torn(handler):
        handler.wfile.write(said)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    return torn


@pytest.mark.parametrize("said", [b"", b"HTTP/1.", b"HTTP/1.1 20", b"\0" * 99])
def test_a_torn_answer_is_none(send, receiver, said):
    """Until its first line is whole nobody knows what an answer says."""
    receiver.answers = [_torn(said)]
    assert send().error == "broken"


def test_what_is_torn_behind_the_head_does_not_count(send, receiver):
    """A success is one although its body breaks off, and a refusal one although nobody reads its reason."""
    receiver.answers = [
        _torn(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx"),
        _torn(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\nx"),
    ]
    assert send().ok
    assert send().error == "status-500"


def test_an_endless_answer_is_not_read(send, receiver):
    """Of a refusal a few words are kept, whatever comes behind them."""

    def endless(handler):
        handler.wfile.write(b"HTTP/1.1 500 No\r\n\r\n")
        for _ in range(10_000):
            handler.wfile.write(b"x" * 65_536)

    receiver.answers = [endless]
    assert len(send().detail) < 300


def test_a_receiver_that_drips_is_cut_off(send, receiver):
    """The time is for all of an attempt, not for each byte."""

    def drip(handler):
        handler.wfile.write(b"HTTP/1.")
        for _ in range(600):
            handler.wfile.write(b"x")
            time.sleep(0.1)

    receiver.answers = [drip]
    assert send(timeout_s=1.0).error == "timeout"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "::1", "fd00::1", "::ffff:127.0.0.1"]
)
def test_a_private_address_is_not_reached(send, receiver, address):
    """Whoever answers for a public name cannot lead inside; trying again cannot change that."""
    found = send("https://hooks.example.com/", allow=(), resolver=lambda _host, _port: [address])
    assert (found.error, found.hopeless) == ("denied", True)
    assert receiver.got == []


HERE = """127.1 127.0.1 2130706433 0x7f000001 0177.0.0.1 017700000001 0 0.0.0.0 127.255.255.254 localhost LOCALHOST
localhost. [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1] [2002:7f00:1::] [fe80::1]
[fd00:ec2::254] 169.254.169.254 100.100.100.200 168.63.129.16 192.0.0.192""".split()  # noqa: SIM905 - a table is read more easily
"""What means this machine, its neighbours or its cloud's metadata to some resolver."""


@pytest.mark.parametrize("host", HERE)
def test_no_spelling_of_a_private_address_is_reached(send, receiver, host):
    """Whatever the system's own resolver makes of it."""
    port = receiver.url.rsplit(":", 1)[1].split("/")[0]
    for scheme in ("http", "https"):
        assert send(f"{scheme}://{host}:{port}/", allow=(), timeout_s=20.0).error in {"denied", "resolve"}
    assert receiver.got == []


def test_the_address_that_was_looked_at_is_the_one(send, receiver):
    """A name is resolved once, so that it cannot be another address when it is connected to."""
    port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])
    asked = []

    def changing(_host, _port):
        asked.append(1)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    assert send(f"http://hooks.example.com:{port}/x", resolver=changing).ok
    assert len(asked) == 1
    assert receiver.got[0].headers["Host"] == f"hooks.example.com:{port}"


def test_in_the_clear_only_this_machine_is_reached(send, receiver):
    """Also where the subscription allows private networks."""
    found = send("http://hooks.example.com/", allow=("10.0.0.0/8",), resolver=lambda _host, _port: ["10.0.0.1"])
    assert (found.error, found.hopeless) == ("denied", True)


def test_tls_is_verified(send, tls_receiver, certificate):
    """A certificate that nobody trusts, or of another name, is no receiver; one that is trusted is."""
    assert send(tls_receiver.url, ca=certificate[0]).ok
    assert send(tls_receiver.url).error == "tls"
    other = tls_receiver.url.replace("127.0.0.1", "hooks.example.com")
    assert send(other, ca=certificate[0], resolver=lambda _host, _port: ["127.0.0.1"]).error == "tls"
    assert len(tls_receiver.got) == 1


@pytest.mark.parametrize(("secret", "said"), [("NONE", "NONE"), ("BAD", "whsec_")])
def test_without_a_secret_nothing_is_sent(send, receiver, secret, said):
    """It is said which one, never what it is."""
    found = send(known_as=secret)
    assert found.error == "secret"
    assert said in found.detail
    assert "none!" not in found.detail
    assert receiver.got == []


def test_nobody_there_is_an_answer(send):
    """A port that nobody listens at, and a name without an address, are tried again later."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        bound.close()
        assert send(f"http://127.0.0.1:{port}/").error == "connect"

    def nowhere(_host, _port):
        raise socket.gaierror(-2, "Name or service not known")

    assert send("https://hooks.example.com/", resolver=nowhere).error == "resolve"


def test_the_time_is_that_of_the_standard():
    """Standard Webhooks: a reasonable time-out is 15 to 30 seconds."""
    assert 15 <= webhook.TIMEOUT_S <= 30
