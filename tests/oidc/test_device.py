"""`mandamus login` without a token: a device asks, a person lets it in, over HTTP."""

import json
import os
import re
import subprocess
import sys

import httpx2
import pytest

from mandamus.audit.kinds import Kind

pytestmark = pytest.mark.slow

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def ask(site, **form):
    return httpx2.post(f"{site.url}/api/v1/device/code", data={"client_id": "a test", **form})


def take(site, code, **form):
    return httpx2.post(f"{site.url}/api/v1/device/token", data={"grant_type": GRANT, "device_code": code, **form})


def test_the_command_line_signs_in_and_out(browser, site, tmp_path):
    """The command shows a code; grace, signed in by the provider, sees who asks and lets it in; it works as her."""
    environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "MANDAMUS_SERVER": site.url}
    command = [sys.executable, "-m", "mandamus"]
    words = [*command, "login", "--only", "run:read", "--only", "system:read", "--output", "json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environ, **pipes) as login:
        says = login.stderr.readline()
        where, code = re.search(r"open (\S+) and type the code (\S+)", says).groups()
        assert where == f"{site.url}/device"
        browser.go(where)
        browser.sign_in("grace", re.search(r'href="(/sign-in/start[^"]*)"', browser.page)[1])
        assert browser.url == where
        shown = browser.post("/device", code=code.lower().replace("-", " "))
        assert "mandamus on " in shown
        assert "127.0.0.1" in shown
        assert "run:read, system:read" in shown
        assert "Go on only if you started" in shown
        assert "has a token of yours" in browser.post("/device", code=code, verdict="grant")
        assert login.wait(60) == 0
        told = json.loads(login.stdout.read())
    assert told["user"] == "grace"
    token = next(iter(json.loads((tmp_path / "mandamus" / "tokens.json").read_text()).values()))
    me = httpx2.get(f"{site.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"}).json()
    assert (me["user"], me["permissions"]) == ("grace", ["run:read", "system:read"])
    created = site.told(Kind.TOKEN_CREATED)[-1]
    granted = site.told(Kind.DEVICE_GRANTED)[-1]
    assert granted["device"] == created["device"]
    assert granted["permissions"] == ["run:read", "system:read"]
    out = subprocess.run([*command, "logout"], env=environ, capture_output=True, text=True, check=True)
    assert "no good any more" in out.stderr
    assert json.loads((tmp_path / "mandamus" / "tokens.json").read_text()) == {}
    answer = httpx2.get(f"{site.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    again = subprocess.run([*command, "logout"], env=environ, capture_output=True, text=True, check=True)
    assert "no token was kept" in again.stderr


def test_a_device_that_is_refused_hears_so(browser, site):
    """Pending until somebody answers, slower for who hurries, refused when they say no; and a code is typed once."""
    asked = ask(site, scope="run:read").json()
    assert asked["interval"] == 5
    assert asked["expires_in"] == 600
    first, second = take(site, asked["device_code"]), take(site, asked["device_code"])
    assert (first.status_code, first.json()["error"]) == (400, "authorization_pending")
    assert (second.status_code, second.json()["error"]) == (400, "slow_down")
    assert first.headers["cache-control"] == "no-store"
    browser.sign_in("grace")
    assert "was refused" in browser.post("/device", code=asked["user_code"], verdict="refuse")
    assert "no device waits" in browser.post("/device", code=asked["user_code"], verdict="grant")
    assert browser.status == 404
    assert site.told(Kind.DEVICE_REFUSED)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_id": ""}, "invalid_request"),
        ({"client_id": "x\ny"}, "invalid_request"),
        ({"client_id": "x" * 101}, "invalid_request"),
        ({"scope": "run:everything"}, "invalid_scope"),
    ],
)
def test_what_no_device_asks_is_refused(site, form, error):
    """In the words of RFC 6749, and nothing is kept of it."""
    answer = ask(site, **form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_what_is_no_code_gets_no_token(site):
    """Unknown codes, other grants, fields that stand twice and other bodies are refused alike for everybody."""
    assert take(site, "x").json()["error"] == "invalid_grant"
    assert take(site, "x", grant_type="password").json()["error"] == "unsupported_grant_type"
    url = f"{site.url}/api/v1/device/token"
    assert httpx2.post(url, json={"device_code": "x"}).json()["error"] == "invalid_request"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"grant_type={GRANT}&device_code=a&device_code=b"
    assert httpx2.post(url, content=body, headers=headers).json()["error"] == "invalid_request"
