"""``mandamus audit export``: a home's log in a folder and at a receiver, and what is said when one of them is dead."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mandamus.audit.gate import Demand, Mode, Row
from mandamus.audit.gatekeeper import error_of
from mandamus.bootstrap.house import open_house
from mandamus.kernel.errors import Code, Exit
from mandamus.settings import Settings

DEAD = "http://127.0.0.1:1/"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def made(bare, tmp_path, monkeypatch):
    """A home that was just made."""
    monkeypatch.chdir(tmp_path)
    assert bare("init").code == Exit.OK
    return bare


def _declare(shell, text: str) -> None:
    (shell.home / "sinks.yaml").write_text(f"sinks:\n{text}\n")


def test_a_folder_has_the_whole_log(made, tmp_path):
    """Run, list and reconcile a folder; the export itself is in it, and what is new shows as lag until it is sent."""
    assert "no sinks" in made("audit", "export", "run").err
    _declare(made, f"  archive: {{files: {{folder: {tmp_path / 'out'}}}}}")
    told = made("audit", "export", "run", "archive", "--output", "json")
    assert told.code == Exit.OK
    (sent,) = told.json
    assert (sent["first"], sent["next"]) == (0, sent["size"])
    lines = [json.loads(line) for path in (tmp_path / "out").rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert lines[-1]["metadata"]["event_code"] == "audit.exported"
    assert made("audit", "export", "reconcile", "archive").code == Exit.OK
    (row,) = made("audit", "export", "list", "--output", "json").json
    assert (row["sink"], row["next"], row["lag"], row["error"]) == ("archive", sent["next"], 1, "")
    assert "took leaves" in made("audit", "export", "run").out
    assert made("audit", "verify").code == Exit.OK


def test_a_changed_folder_is_told(made, tmp_path):
    """A line changed is tampered and a file gone incomplete, each with its exit code."""
    _declare(made, f"  archive: {{files: {{folder: {tmp_path / 'out'}}}}}")
    made("audit", "export", "run")
    (path,) = (tmp_path / "out").rglob("*.jsonl")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"home.created", b"home.creates"))
    told = made("audit", "export", "reconcile", "archive")
    assert told.code == Exit.TAMPERED
    assert "differ from the log" in told.out
    path.unlink()
    assert made("audit", "export", "reconcile", "archive").code == Exit.INCOMPLETE
    path.write_bytes(data)
    path.with_suffix(".copy").write_bytes(data)
    assert (
        made("audit", "export", "reconcile", "archive", "--copy", str(path.with_suffix(".copy"))).code != Exit.TAMPERED
    )


def test_a_dead_sink_holds_up_no_other(made, tmp_path):
    """The folder has everything; of the other one the error is shown, kept and cleared when it is mended."""
    _declare(made, f"  dead: {{otlp: {{url: '{DEAD}'}}}}\n  archive: {{files: {{folder: {tmp_path / 'out'}}}}}")
    told = made("audit", "export", "run")
    assert told.code == Exit.FAILED
    assert "dead: the sink dead took nothing" in told.out
    assert "archive: took leaves 0 to" in told.out
    table = made("audit", "export", "list").out
    assert "ConnectionRefusedError" in table
    assert made("audit", "export", "run", "ded").code == Exit.FAILED
    assert made("audit", "export", "reconcile", "dead").code == Exit.USAGE


def test_a_required_sink_that_lags_closes_the_gate(made, tmp_path):
    """The gate opens while the lag is allowed, and refuses with what is to be done while it is not."""
    _declare(made, f"  dead: {{otlp: {{url: '{DEAD}'}}, required: true, lag_max: 1000}}")
    house = open_house(Settings(disk_free_min_percent=0), made.environ, made.home, None)
    try:
        gate, nobody = house.rooms.gate, Demand(Mode.NONE)
        assert gate.blocked(nobody) == ()
        _declare(made, f"  dead: {{otlp: {{url: '{DEAD}'}}, required: true, lag_max: 1}}")
        (blocked,) = gate.blocked(nobody)
        assert (blocked.row, error_of([blocked]).code) == (Row.SINK, Code.AUDIT_UNAVAILABLE)
        assert "the required sink dead lacks" in blocked.message
        _declare(made, f"  dead: {{otlp: {{url: '{DEAD}'}}, lag_max: 1}}")
        assert gate.blocked(nobody) == ()
    finally:
        house.close()


def test_a_webhook_is_sent_a_home(made, tmp_path):
    """With a secret from a file; a secret that is not there is an error that does not show one."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        _declare(made, f"  hook: {{webhook: {{url: '{url}', secret: {{file: hook.secret}}}}}}")
        told = made("audit", "export", "run")
        assert told.code == Exit.FAILED
        assert not got
        (made.home / "hook.secret").write_text(SECRET + "\n")
        assert made("audit", "export", "run").code == Exit.OK
    finally:
        server.shutdown()
        server.server_close()
    copy = tmp_path / "copy"
    copy.write_bytes(b"\n".join(got))
    assert made("audit", "export", "reconcile", "hook", "--copy", str(copy)).code == Exit.OK
    assert [json.loads(each)["data"]["metadata"]["sequence"] for each in got] == list(range(len(got)))
    assert SECRET not in copy.read_text()
