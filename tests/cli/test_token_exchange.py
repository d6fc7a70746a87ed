"""A job exchanges its token from the command line, and works with what it got: over HTTP, issuer and all."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwk

from mandamus.api.app import build
from mandamus.bootstrap.house import open_house
from mandamus.kernel.errors import Exit
from mandamus.serving.hub import Hub
from mandamus.settings import Settings

KEY = jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
AUDIENCE = "https://mandamus.example.com"
PLATFORM = """
users: {{ada: {{}}, OWNER: {{}}}}
service_accounts: {{ci-ledger: {{owner: ada}}}}
grants: {{pipelines: {{role: member, to: {{service_account: ci-ledger}}}}}}
exchange:
  deploys:
    issuer: {issuer}
    audience: {audience}
    claims: {{repository: acme/ledger, ref: refs/heads/main}}
    account: ci-ledger
    permissions: [run:request, run:read, system:read]
"""
WORKFLOW = "workflow: deploy\nsteps:\n  change:\n    script: {run: 'true'}\n"


class _Issuer(BaseHTTPRequestHandler):
    """What a CI system publishes."""

    def do_GET(self) -> None:
        """Discovery, and the keys."""
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        said = {"issuer": url, "jwks_uri": f"{url}/keys"}
        if self.path == "/keys":
            said = {"keys": [KEY.as_dict(private=False)]}  # type: ignore[dict-item]
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: Any) -> None:
        """Say nothing."""


@dataclass
class Place:
    """Where the server is, and who signs."""

    server: str
    issuer: str

    def token(self, **changed: Any) -> str:
        """What the CI system signs for a job."""
        now_s = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "repo:acme/ledger:ref:refs/heads/main",
            "jti": os.urandom(8).hex(),
            "iat": now_s,
            "exp": now_s + 300,
            "repository": "acme/ledger",
            "ref": "refs/heads/main",
        } | changed
        parts = [{"alg": "RS256", "kid": "one", "typ": "JWT"}, said]
        made = ".".join(_b64(json.dumps(each).encode()) for each in parts)
        return f"{made}.{_b64(KEY.private_key.sign(made.encode(), PKCS1v15(), SHA256()))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_home) -> Iterator[Place]:
    """A server and an issuer, both over HTTP on this machine."""
    issuer = ThreadingHTTPServer(("127.0.0.1", 0), _Issuer)
    threading.Thread(target=issuer.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{issuer.server_address[1]}"
    text = PLATFORM.format(issuer=url, audience=AUDIENCE)
    home, _ = make_home(tmp_path_factory.mktemp("ci"), text, WORKFLOW)
    with closing(open_house(Settings(), dict(os.environ), home, None)) as house:
        bound = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(build(house, "test", Hub(house)), log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield Place(f"http://127.0.0.1:{bound.getsockname()[1]}", url)
        server.should_exit = True
        thread.join(60)
    issuer.shutdown()
    issuer.server_close()


def ask(bare, place: Place, *words: str, **environ: str) -> Any:
    """The command, as a job runs it."""
    shell = type(bare)(bare.home, bare.project, {**bare.environ, "MANDAMUS_SERVER": place.server, **environ})
    return shell("token", "exchange", *words, home=False)


def test_a_job_exchanges_its_token_and_works_with_it(bare, place):
    """By the name of a variable; what is printed is the token alone, and lets later commands in."""
    shown = place.token()
    told = ask(bare, place, "--token-env", "ID_TOKEN", ID_TOKEN=shown)
    assert told.code == Exit.OK, told.err
    given = told.out.strip()
    assert given.startswith("mdm_")
    assert "15 minutes" in told.err
    assert shown not in told.out + told.err
    shell = type(bare)(bare.home, bare.project, {**bare.environ, "MANDAMUS_SERVER": place.server})
    later = type(bare)(bare.home, bare.project, {**shell.environ, "MANDAMUS_TOKEN": given})
    listed = later("runs", "list", "--output", "json", home=False)
    assert (listed.code, json.loads(listed.out)["runs"]) == (Exit.OK, [])


def test_a_job_may_give_its_token_on_standard_input(bare, place, monkeypatch):
    """And read the answer as JSON."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(place.token() + "\n"))
    told = ask(bare, place, "--output", "json")
    assert told.code == Exit.OK, told.err
    assert told.json["scope"] == "run:read run:request system:read"
    assert told.json["expires_in"] == 900


@pytest.mark.parametrize("changed", [{"ref": "refs/heads/other"}, {"aud": "https://other.example"}, {"repository": ""}])
def test_a_job_that_may_not_is_told_where_to_look(bare, place, changed):
    """Not which claim it was, and nothing of the token."""
    shown = place.token(**changed)
    told = ask(bare, place, "--token-env", "ID_TOKEN", ID_TOKEN=shown)
    assert told.code == Exit.FAILED
    assert told.out == ""
    assert "`exchange`" in told.err
    assert shown[-40:] not in told.err


def test_a_token_is_no_word_of_the_command_line(bare, place):
    """Whoever gives it as one is told so, without its being said back."""
    shown = place.token()
    told = ask(bare, place, "--token-env", shown)
    assert told.code == Exit.USAGE
    assert shown[:20] not in told.err
    assert ask(bare, place, "--token-env", "ID_TOKEN").code == Exit.USAGE
    assert bare("token", "exchange", home=False).code == Exit.USAGE
