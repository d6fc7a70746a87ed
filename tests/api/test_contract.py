"""Every operation of the contract asked with what it allows and with what it does not: it keeps to the contract."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mandamus.api.app import build
from mandamus.serving.hub import Hub
from mandamus.serving.limits import Limits
from mandamus.serving.protocol import Impatient

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
)
CONFIG = """
[generation]
with-security-parameters = false

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]

[parameters]
"""
LEAKS = (b"Traceback (most recent", b"[SQL:", b"sqlalche.me", b'File "/')


class Watched:
    """An application that remembers what it should not have said."""

    def __init__(self, app: ASGIApp, secrets: Mapping[str, str]) -> None:
        self._app = app
        self._never = [*LEAKS, *(secret.encode() for secret in secrets.values())]
        self.leaks: list[tuple[str, str]] = []
        self.statuses: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and look at what comes back."""

        async def looked(message: Message) -> None:
            said = message.get("body", b"") + b"".join(value for _, value in message.get("headers", ()))
            self.leaks += [(scope["path"], each.decode()[:20]) for each in self._never if each in said]
            if "status" in message:
                self.statuses.add(message["status"])
            await send(message)

        await self._app(scope, receive, looked)


@pytest.fixture(scope="module")
def patient(place) -> Iterator[str]:
    """The URL of a server in this process that never tells a caller to wait; it says no secret, no trace and no SQL."""
    house = place.open()
    app = build(house, "test", Hub(house))
    app.state.limits = Limits(house.clock, burst=1e9)
    watched = Watched(app, place.secrets)
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(watched, http=Impatient, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    bound.close()
    house.close()
    assert not watched.leaks
    assert {200, 401, 422} <= watched.statuses
    assert 500 not in watched.statuses


def probe(url: str, secret: str, folder: Path, *options: str, known: Mapping[str, str] | None = None) -> None:
    """Have schemathesis ask everything, with these parameters where they are known; fails with what it found."""
    parameters = "".join(f'"{name}" = "{value}"\n' for name, value in (known or {}).items())
    (folder / "schemathesis.toml").write_text(CONFIG + parameters)
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/openapi.json", "--no-color"]
    words += ["--header", f"Authorization: Bearer {secret}", "--request-timeout", "60", "--generation-deterministic"]
    words += ["--checks", ",".join(CHECKS), "--continue-on-failure", *options]
    done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def closed_run(client, **inputs) -> str:
    """A run that has come to its end."""
    body = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev", "inputs": inputs}
    run: str = client.post("/api/v1/runs", json=body).json()["id"]
    until_s = time.monotonic() + 60
    while client.get(f"/api/v1/runs/{run}").json()["evidence"] is None:
        assert time.monotonic() < until_s, f"{run} does not end"
        time.sleep(0.05)
    return run


def test_the_contract_is_kept(place, patient, tmp_path):
    """A few examples of each operation, allowed and not: no failure of ours, and nothing that is not declared."""
    probe(patient, place.secrets["owner"], tmp_path, "--max-examples", "2", "--phases", "examples,fuzzing")


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_the_contract_is_kept_for_long(place, patient, tmp_path):
    """Many examples, the edges of every schema, and operations one after the other on what the one before made."""
    probe(patient, place.secrets["owner"], tmp_path, "--max-examples", "40")


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("public", [False, True])
def test_the_contract_is_kept_for_what_is_there(place, patient, as_user, tmp_path, public):
    """The same of a run that succeeded and of one that was denied: its log, its streams, its evidence, its end."""
    run = closed_run(as_user("ada"), public=public)
    known = {"path.run": run, "path.step": "change", "path.environment": "dev"}
    options = ("--max-examples", "15", "--phases", "examples,coverage,fuzzing", "--include-path-regex", r"\{")
    probe(patient, place.secrets["owner"], tmp_path, *options, known=known)
