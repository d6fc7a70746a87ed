from __future__ import annotations

import ipaddress
import select
import socket
import threading
import time

import pytest

from mandamus.executors import http_child, http_url
from mandamus.executors.http import build
from mandamus.executors.model import SandboxPolicy, Toolbox
from mandamus.kernel.addresses import permitted
from mandamus.kernel.document import parse
from mandamus.kernel.errors import Code, MandamusError

# Every one of these means this machine, its neighbours or its cloud's metadata to some program; P is a listener's port.
FORMS = r"""
http://127.0.0.1:P/  http://127.0.0.1:P  http://127.0.0.1:P?a  http://127.1:P/  http://127.0.1:P/  http://127.255.255.254:P/
http://127.0.0.1.:P/  http://2130706433:P/  http://0x7f000001:P/  http://0x7F.0x0.0x0.0x1:P/  http://0177.0.0.1:P/
http://017700000001:P/  http://0x7f.1:P/  http://0177.1:P/  http://127.0x0.00.1:P/
http://0.0.0.0:P/  http://0:P/  http://00:P/  http://0x0:P/  http://0.0:P/  http://0.0.0.1:P/
http://localhost:P/  http://LOCALHOST:P/  http://LocalHost.:P/  http://localhost.localdomain:P/  http://ip6-localhost:P/
http://[::1]:P/  http://[0:0:0:0:0:0:0:1]:P/  http://[0000:0000:0000:0000:0000:0000:0000:0001]:P/  http://[::0.0.0.1]:P/
http://[::]:P/  http://[::ffff:127.0.0.1]:P/  http://[::FFFF:7f00:1]:P/  http://[0:0:0:0:0:ffff:127.0.0.1]:P/
http://[::ffff:0:127.0.0.1]:P/  http://[::127.0.0.1]:P/  http://[64:ff9b::127.0.0.1]:P/  http://[64:ff9b::7f00:1]:P/
http://[64:ff9b:1::7f00:1]:P/  http://[2002:7f00:1::]:P/  http://[2001:0:7f00:1::]:P/  http://[fe80::1]:P/
http://[fe80::1%25lo]:P/  http://[fe80::1%lo]:P/  http://[::1%25lo]:P/  http://[fc00::1]:P/  http://[fd00:ec2::254]:P/
http://[ff02::1]:P/  http://[::1]  http://[::1]:P@example.com/  http://[127.0.0.1]:P/  http://[::1:P/  http://::1:P/
http://169.254.169.254:P/  http://169.254.169.254/latest/meta-data/  http://0xa9fea9fe:P/  http://2852039166:P/
http://169.16689662:P/  http://[::ffff:169.254.169.254]:P/  http://100.100.100.200:P/  http://192.0.0.192:P/
http://168.63.129.16:P/  http://metadata.google.internal:P/  http://10.0.0.1:P/  http://172.16.0.1:P/
http://172.31.255.255:P/  http://192.168.0.1:P/  http://100.64.0.1:P/  http://198.18.0.1:P/  http://224.0.0.1:P/
http://240.0.0.1:P/  http://255.255.255.255:P/  http://user@127.0.0.1:P/  http://user:pw@127.0.0.1:P/
http://example.com@127.0.0.1:P/  http://127.0.0.1:P@example.com/  http://example.com:80@127.0.0.1:P/
http://127.0.0.1:P#@example.com/  http://127.0.0.1:P/#@example.com  http://127.0.0.1:P\@example.com/
http://example.com\@127.0.0.1:P/  http:\\127.0.0.1:P/  http:/127.0.0.1:P/  http:127.0.0.1:P/  http:///127.0.0.1:P/
//127.0.0.1:P/  127.0.0.1:P/  http://%31%32%37.0.0.1:P/  http://127.0.0.1%00.example.com:P/  http://127%2e0%2e0%2e1:P/
http://①②⑦.⓪.⓪.①:P/  http://127。0。0。1:P/  http://１２７.0.0.1:P/  http://ⓛocalhost:P/
ftp://127.0.0.1:P/  file:///etc/passwd  gopher://127.0.0.1:P/_x  dict://127.0.0.1:P/x
ldap://127.0.0.1:P/  unix:///var/run/docker.sock  data:text/plain,x  jar:http://127.0.0.1:P/!/  HTTP+UNIX://%2Ftmp%2Fx/
http://127.0.0.1:0P/  http://127.0.0.1:+P/  http://127.0.0.1:-1/  http://127.0.0.1:0/  http://127.0.0.1:65536/  http://-127.0.0.1:P/
http://127..0.0.1:P/  http://.127.0.0.1:P/  http://127.0.0.1,example.com:P/  http://127.0.0.1;P/  http://(127.0.0.1):P/
""".split()  # noqa: SIM905 - a table is read more easily than a hundred quoted strings
# What no list can hold that is split at white space.
SPACED = [
    "http://127.0.0.1:P /",
    " http://127.0.0.1:P/",
    "http://127.0.0.1:P/\n",
    "http://127.0.0.1\t:P/",
    "http://127.0.0.1\n:P/",
    "http://example.com /\r\nHost: 127.0.0.1:P",
    "http://127.0.0.1:P/ HTTP/1.1\r\nX: y",
    "http://127.0.0.1:P/\0",
    "ht\ntp://127.0.0.1:P/",
    "http://127.0.0.1\u200b:P/",
    "http://loc\u00adalhost:P/",
]


class Trap:
    """Listens on every address of this machine and counts who connects."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server(("0.0.0.0", 0))]  # noqa: S104 - the point is to be reachable
        self.port = self._sockets[0].getsockname()[1]
        if socket.has_ipv6:
            six = socket.socket(socket.AF_INET6)
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            six.bind(("::", self.port))
            six.listen()
            self._sockets.append(six)

    def hits(self) -> int:
        """Connections since the last look."""
        found = 0
        while ready := select.select(self._sockets, [], [], 0)[0]:
            for server in ready:
                server.accept()[0].close()
                found += 1
        return found

    def close(self) -> None:
        """Stop listening."""
        for server in self._sockets:
            server.close()


@pytest.fixture(scope="module")
def trap():
    made = Trap()
    yield made
    made.close()


@pytest.fixture
def exchange(tmp_path):
    """One exchange of the child itself, with the resolver handed in."""

    def do(url: str, *, resolve=http_child.resolve, allow=(), timeout_s=1) -> dict:
        found = http_url.parse(url)
        wire = {
            "method": "GET",
            "scheme": found.scheme,
            "host": found.host,
            "port": found.port,
            "target": found.target,
            "headers": [["Host", found.authority]],
            "body": "",
            "allow": list(allow),
            "roots": "",
            "timeout_s": timeout_s,
            "answer_bytes_max": 1000,
            "folder": str(tmp_path),
        }
        return http_child.Exchange(wire, resolve, time.monotonic).run()

    return do


def test_the_trap_springs(trap, exchange):
    """The listener of these tests does see who connects by the forms that reach it when they are allowed."""
    for url in (f"http://127.1:{trap.port}/", f"http://0.0.0.0:{trap.port}/", f"http://localhost:{trap.port}/"):
        socket.create_connection((http_url.parse(url).host, trap.port)).close()
        assert trap.hits() == 1
    assert len(set(FORMS + SPACED)) >= 110


@pytest.mark.parametrize("form", [*FORMS, *SPACED])
def test_no_form_of_a_closed_address_is_reached(trap, runner, make_task, exchange, form):
    """However a private, loopback or metadata address is written, nothing connects: not the step, not its child."""
    url = form.replace("P", str(trap.port))
    http = build(Toolbox(runner, {}))
    spec = {"url": url, "timeout": "2s"}
    task = make_task(spec=spec, sandbox=SandboxPolicy(network=True))
    refusal, blob = None, b""
    try:
        blob = http.plan(task).blob
    except MandamusError as error:
        refusal = error
    if refusal is None:
        applied = http.apply(task, blob)
        assert not applied.ok
        assert not applied.partial
    else:
        assert refusal.code is Code.VALUE_INVALID
        assert refusal.remedy
    try:
        answer = exchange(url)
    except ValueError:
        answer = {"error": "denied", "sent": False}
    assert answer["error"] in {"denied", "resolve"}
    assert not answer["sent"]
    assert trap.hits() == 0


def test_a_literal_address_is_refused_when_planning(runner, make_task):
    """Nobody is asked to approve a request to an address the pool keeps closed; the pool may open it by name."""
    http = build(Toolbox(runner, {}))
    for url in (
        "http://127.1/",
        "http://[::1]/",
        "http://0x7f000001/",
        "http://169.254.169.254/",
        "http://[::ffff:7f00:1]/",
    ):
        with pytest.raises(MandamusError) as error:
            http.plan(make_task(spec={"url": url}, sandbox=SandboxPolicy(network=True)))
        assert "allow_private" in error.value.remedy
    allowed = SandboxPolicy(network=True, allow_private=("127.0.0.0/8",))
    assert http.plan(make_task(spec={"url": "http://127.1/"}, sandbox=allowed)).blob
    with pytest.raises(MandamusError):
        http.plan(make_task(spec={"url": "http://169.254.169.254/"}, sandbox=allowed))


@pytest.mark.parametrize(
    "address",
    """
    0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 168.63.129.16
    169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1
    192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
    255.255.255.255 :: ::1 ::2 ::ffff:1.1.1.1 ::ffff:127.0.0.1 ::1.1.1.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1
    64:ff9b:1::1 100::1 2001::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1
    3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 2a00::1%eth0 feb0::1 fec0::1 ff00::1 ff02::1 4000::1 8000::1
    """.split(),  # noqa: SIM905 - see above
)
def test_special_addresses_are_closed(address):
    """Every network of the special-purpose registries is closed, whatever this release of Python thinks of it."""
    assert not permitted(address, ())


@pytest.mark.parametrize(
    "address",
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 168.63.129.15
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255
    198.20.0.0 223.255.255.255 2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00::1 3ffe::1 64:ff9b::8.8.8.8
    """.split(),  # noqa: SIM905 - see above
)
def test_public_addresses_are_open(address):
    """The closed networks end where they end."""
    assert permitted(address, ())


def test_the_pool_opens_exactly_what_it_names():
    """An allowed network opens its own addresses and no form of them in another family."""
    assert permitted("127.0.0.1", ("127.0.0.0/8",))
    assert not permitted("127.0.0.1", ("10.0.0.0/8", "::1/128"))
    assert not permitted("::1", ("127.0.0.0/8",))
    assert not permitted("::ffff:127.0.0.1", ("127.0.0.0/8",))
    assert permitted("64:ff9b::127.0.0.1", ("127.0.0.0/8",))
    assert not permitted("10.0.0.2", ("10.0.0.1/32",))
    assert permitted("fd00::1", ("fd00::/8",))


def test_a_name_is_resolved_once_and_only_a_checked_address_is_connected_to(trap, exchange):
    """A name server that answers differently the second time is not asked a second time."""
    asked: list[tuple[str, int]] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_server(("127.0.0.1", port)) as forbidden:
            forbidden.settimeout(0.1)
            server.settimeout(60)
            answer = exchange(f"http://rebind.example:{port}/", resolve=rebinding, allow=("127.0.0.2/32",), timeout_s=3)
            server.accept()[0].close()
            with pytest.raises(TimeoutError):
                forbidden.accept()
    assert asked == [("rebind.example", port)]
    assert answer["error"] in {"exchange", "timeout"}


def test_of_several_addresses_the_closed_ones_are_never_tried(trap, exchange):
    """A mixed answer is no way in: what is closed is skipped, and when nothing is left the exchange ends."""
    host = f"http://mixed.example:{trap.port}/"
    for found in (["127.0.0.1"], ["::1", "127.0.0.1"], ["10.0.0.1", "169.254.169.254"], ["::ffff:127.0.0.1"], []):
        answer = exchange(host, resolve=lambda _host, _port, found=found: list(found))
        assert (answer["error"], answer["sent"]) == ("denied", False)
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        answer = exchange(
            f"http://mixed.example:{port}/",
            resolve=lambda _host, _port: ["127.0.0.1", "127.0.0.2"],
            allow=("127.0.0.2/32",),
        )
        assert server.accept()[1][0].startswith("127.0.0.")
    assert trap.hits() == 0


def test_a_redirect_chain_to_a_closed_address_ends_at_its_first_link(trap, runner, make_task):
    """The answer that points inside is not followed, by the platform or by anything it starts."""
    with socket.create_server(("127.0.0.2", 0)) as server:

        def answer() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(65536)
                location = f"Location: http://127.0.0.1:{trap.port}/\r\nRefresh: 0; url=http://127.0.0.1:{trap.port}/"
                sock.sendall(f"HTTP/1.1 302 Found\r\n{location}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        http = build(Toolbox(runner, {}))
        spec = {"url": f"http://127.0.0.2:{server.getsockname()[1]}/", "expect": {"status": [302]}}
        task = make_task(spec=spec, sandbox=SandboxPolicy(network=True, allow_private=("127.0.0.2/32",)))
        applied = http.apply(task, http.plan(task).blob)
        thread.join()
    assert applied.outputs["status"] == 302
    assert trap.hits() == 0


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "target"),
    [
        ("http://example.com", "example.com", 80, "example.com", "/"),
        ("HTTPS://Example.com:443/a", "Example.com", 443, "Example.com", "/a"),
        ("https://x:8443?a=b", "x", 8443, "x:8443", "/?a=b"),
        ("http://[2001:4860::1]:81/", "2001:4860::1", 81, "[2001:4860::1]:81", "/"),
        ("http://a_b.example./%2e%2e/..;x=1/?q=%00&r[]=1|2{3}", "a_b.example.", 80, "a_b.example.", None),
    ],
)
def test_urls_are_taken_apart_exactly(url, host, port, authority, target):
    """The parts are what stands there; nothing is decoded, normalised or completed but the port and the path."""
    found = http_url.parse(url)
    assert (found.host, found.port, found.authority) == (host, port, authority)
    assert found.target == (target or url.split("example.", 1)[1])


def test_numeric_hosts_are_known_in_every_form():
    """What a resolver would take for a number is checked as that number."""
    for host, literal in [
        ("127.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("example.com", None),
        ("127.0.0.1.example.com", None),
    ]:
        assert http_url.parse(f"http://{host}/").literal() == literal
    assert ipaddress.ip_address(http_url.parse("http://[::1]/").literal()).is_loopback


def test_a_late_url_is_no_problem_before_the_run(runner):
    """An expression in a url is known in a run only; then it is read with the same grammar."""
    http = build(Toolbox(runner, {}))
    assert http.validate(parse(b'url: "${{ inputs.u }}"\n', "w.yaml")) == []
