"""A log read over HTTP, from a real server: whole, broken, hostile and gone."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mandamus.audit import remote
from mandamus.audit.model import Leaf, Verdict
from mandamus.audit.remote import Web
from mandamus.audit.service import Audit
from mandamus.audit.verify import verify_log
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

Write = Callable[..., list[Leaf]]
Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Serves a folder below ``/log``; ``answers`` replaces what a path would give."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.removeprefix("/log/")
                outer.asked.append(path)
                file = folder / path
                found: Answer = (200, {}, file.read_bytes()) if file.is_file() else (404, {}, b"")
                status, headers, body = outer.answers.get(path, found)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/log"


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """The published log has no database in it."""
    return sqlite_database


@pytest.fixture
def server(audit: Audit, folder: Path, write: Write) -> Iterator[Server]:
    write(audit, 300)
    audit.flush()
    made = Server(folder)
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_a_log_is_read_over_http(audit: Audit, server: Server) -> None:
    """The same report as from the folder; a slash behind the URL changes nothing."""
    for url in (server.url, server.url + "/"):
        report = verify_log(Web(url), audit.vkey)
        assert (report.problems, report.size) == ((), 301)


def test_gzip_is_taken_and_bounded(audit: Audit, server: Server, folder: Path) -> None:
    """A log may send its bundles compressed; what unpacks to more than a bundle can have is not unpacked further."""
    path = "tile/entries/000"
    whole = (folder / path).read_bytes()
    server.answers[path] = 200, {"Content-Encoding": "gzip"}, gzip.compress(whole)
    assert verify_log(Web(server.url), audit.vkey).ok
    server.answers["checkpoint"] = 200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(1 << 26))
    assert len(Web(server.url).read("checkpoint", 1000) or b"") == 1001
    server.answers[path] = 200, {"Content-Encoding": "gzip"}, b"no gzip"
    del server.answers["checkpoint"]
    assert verify_log(Web(server.url), audit.vkey).outcome is Verdict.INCOMPLETE


def test_what_is_changed_on_the_way_is_found(audit: Audit, server: Server, folder: Path) -> None:
    """A changed entry is named by leaf and bundle, a missing one as missing, a longer answer is cut and refused."""
    path = "tile/entries/000"
    whole = (folder / path).read_bytes()
    server.answers[path] = 200, {}, whole.replace(b'"attempt":7}', b'"attempt":8}')
    report = verify_log(Web(server.url), audit.vkey)
    assert (report.outcome, report.leaf, report.problems[0].file) == (Verdict.TAMPERED, 7, path)
    server.answers[path] = 404, {}, b""
    report = verify_log(Web(server.url), audit.vkey)
    assert (report.outcome, report.problems[0].file) == (Verdict.INCOMPLETE, path)
    server.answers[path] = 200, {}, bytes(18_000_000)
    web = Web(server.url)
    assert len(web.read(path, 1000) or b"") == 1001
    assert web.read("log.vkey", 1000) == (folder / "log.vkey").read_bytes()
    assert verify_log(Web(server.url), audit.vkey).outcome is Verdict.TAMPERED


def test_redirects_stay_on_the_host(audit: Audit, server: Server, folder: Path) -> None:
    """A redirect on the same host is followed, to another host never, and not in a circle."""
    checkpoint = (folder / "checkpoint").read_bytes()
    server.answers["newest"] = 200, {}, checkpoint
    server.answers["checkpoint"] = 302, {"Location": "/log/newest"}, b""
    assert verify_log(Web(server.url), audit.vkey).ok
    other = server.url.replace("127.0.0.1", "localhost")
    for location in (f"{other}/newest", "https://127.0.0.1/log/newest", "/log/checkpoint"):
        server.answers["checkpoint"] = 302, {"Location": location}, b""
        report = verify_log(Web(server.url), audit.vkey)
        assert report.outcome is Verdict.INCOMPLETE
        assert "redirects" in report.problems[0].message


def test_a_server_that_fails_is_no_verdict_on_the_log(audit: Audit, server: Server, monkeypatch) -> None:
    """Errors, silence and nobody there: incomplete, said once, never tampered."""
    server.answers["tile/entries/000"] = 503, {}, b"busy"
    report = verify_log(Web(server.url), audit.vkey)
    assert (report.outcome, len(report.problems)) == (Verdict.INCOMPLETE, 1)
    server.answers["tile/entries/000"] = 200, {"Content-Length": "99999"}, b"cut"
    monkeypatch.setattr(remote, "TIMEOUT_S", 0.3)
    assert verify_log(Web(server.url), audit.vkey).outcome is Verdict.INCOMPLETE
    assert verify_log(Web("http://127.0.0.1:9/log"), audit.vkey).outcome is Verdict.INCOMPLETE


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "http://", "file:///etc", "https://u:p@h/x", "http://h/x?y", "http://h:x/", "http://[/"]
)
def test_only_plain_addresses_are_taken(url: str) -> None:
    """What is not http or https, or carries credentials or a query, is a mistake in the command."""
    with pytest.raises(MandamusError) as caught:
        Web(url)
    assert caught.value.code is Code.USAGE
