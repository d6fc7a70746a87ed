"""``mandamus notify``: who is told, what became of it, and sending again, as people and as programs read it."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from mandamus.bootstrap.house import open_house
from mandamus.kernel.errors import Exit
from mandamus.settings import Settings

SECRET = "whsec_" + "QUJD" * 8
PLATFORM = """
notify:
  tokens:
    webhook:
      url: http://127.0.0.1:{port}/
      secret: {{file: hook.secret}}
      allow_private: [127.0.0.0/8]
    kinds: [token.*]
"""


class Receiver(HTTPServer):
    """Answers by a list, and with 204 behind its end."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.end_headers()

            def log_message(self, *_said: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        thread = Thread(target=made.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def told(bare, tmp_path, monkeypatch, receiver):
    """A home whose tokens somebody is told of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook.secret").write_text(SECRET)
    (tmp_path / "notify.yaml").write_text(PLATFORM.format(port=receiver.server_address[1]))
    assert bare("init").code == Exit.OK
    assert "nobody is told" in bare("notify", "list").err
    assert bare("env", "apply", "notify.yaml").code == Exit.OK
    return bare


def test_a_subscription_is_listed_and_tested(told, receiver):
    """How it stands, in a table and as JSON; a test says how it ended, also by its exit code."""
    (row,) = told("notify", "list", "--output", "json").json
    assert (row["name"], row["kinds"], row["waiting"], row["dead"]) == ("tokens", ["token.*"], 0, 0)
    assert "took it" in told("notify", "test", "tokens").err
    assert b"mandamus.notify.test" in receiver.got[0]
    receiver.answers = [500]
    failed = told("notify", "test", "tokens", "--output", "json")
    assert (failed.code, failed.json["error"]) == (Exit.FAILED, "status-500")
    unknown = told("notify", "test", "tokns")
    assert (unknown.code, "did you mean `tokens`?" in unknown.err) == (Exit.FAILED, True)


def test_a_dead_letter_is_shown_and_sent_again(told, receiver):
    """From a home that no server works for: send, see what is dead, say what is to be sent again."""
    receiver.answers = [410]
    house = open_house(Settings(), {}, told.home, None)
    house.tokens.create(house.who, "a test")
    house.close()
    assert "tokens: 0 waiting, 1 dead" in told("notify", "send").err
    assert "gone" in told("notify", "list").out
    assert "status-410" in told("notify", "dead").out
    (dead,) = told("notify", "dead", "tokens", "--output", "json").json
    assert told("notify", "replay").code == Exit.USAGE
    assert told("notify", "replay", "--all", str(dead["id"])).code == Exit.USAGE
    assert told("notify", "replay", "999").code == Exit.FAILED
    assert told("notify", "replay", str(dead["id"])).code == Exit.OK
    assert told("env", "apply", "notify.yaml").code == Exit.OK
    assert "0 waiting, 0 dead" in told("notify", "send").err
    assert receiver.got[0] == receiver.got[1]
    assert "delivered" in told("notify", "deliveries").out
