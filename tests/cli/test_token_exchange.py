"""A job exchanges its token from the command line, and works with what it got: over HTTP, issuer and all."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
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
        said: dict[str, Any] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        if self.path == "/keys":
            said = {"keys": [KEY.as_dict(private=False)]}
        elif self.path.startswith("/job-token?"):
            # As GitHub's runner does it: with the runner's own token, for the audience that is asked for.
            assert self.headers["Authorization"] == "bearer of the runner"
            said = {"value": signed(url, self.path.partition("&audience=")[2])}
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
        return signed(self.issuer, AUDIENCE, **changed)


def signed(issuer: str, audience: str, **changed: Any) -> str:
    """A token of a job that may, changed."""
    now_s = int(time.time())
    said = {
        "iss": issuer,
        "aud": audience,
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


def pipelines() -> list[dict[str, Any]]:
    """The pipelines that the page on CI shows."""
    page = Path(__file__).parents[2] / "docs/how-to/run-in-ci.md"
    blocks = re.findall(r"```yaml[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


def test_the_examples_of_the_page_do_it(place, tmp_path):
    """The steps of both pipelines that exchange a token, run by a shell as they stand: each gets one."""
    (github,) = [each for each in pipelines() if "permissions" in each]
    (gitlab,) = [each["apply"] for each in pipelines() if "apply" in each]
    steps = github["jobs"]["ask"]["steps"]
    (step,) = [each["run"] for each in steps if "exchange" in each.get("run", "")]
    assert github["permissions"]["id-token"] == "write"
    assert gitlab["id_tokens"]["ID_TOKEN"]["aud"] == AUDIENCE
    scripts = {
        "github": step + "\ncat env",
        "gitlab": "\n".join([*gitlab["script"][1:3], 'printf "MANDAMUS_TOKEN=%s\\n" "$MANDAMUS_TOKEN"']),
    }
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "MANDAMUS_SERVER": place.server,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the runner",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{place.issuer}/job-token?api-version=2.0",
        "GITHUB_ENV": "env",
        "ID_TOKEN": place.token(),
    }
    for name, script in scripts.items():
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        done = subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, (name, done.stderr)
        assert re.search(r"^MANDAMUS_TOKEN=mdm_[0-9A-Za-z]{49}$", done.stdout, re.MULTILINE), (name, done.stdout)
