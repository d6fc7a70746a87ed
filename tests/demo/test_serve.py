"""The demo in a browser: it stops where somebody has to approve, lets two people in, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mandamus.bootstrap.house import open_house
from mandamus.settings import Settings

pytestmark = pytest.mark.timeout(600)  # each command is a process of its own, and the machine may be busy

WORDS = [sys.executable, "-m", "mandamus"]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What `mandamus demo --serve` says of itself, while it runs; it ends when it is interrupted."""
    folder = tmp_path_factory.mktemp("demo") / "kept"
    words = [*WORDS, "demo", "--serve", "--port", "0", "--folder", str(folder), "--output", "json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0


def mandamus(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*WORDS, *words], capture_output=True, text=True, check=False, timeout=300)


def enter(served: dict[str, Any], user: str) -> httpx2.Client:
    """Come in by the link of somebody."""
    client = httpx2.Client(base_url=served["url"], headers={"Origin": served["url"]}, timeout=60)
    secret = re.search(r'name="link" value="([^"]+)"', client.get(served["links"][user]).text)[1]
    assert client.post("/sign-in", data={"link": secret}).status_code == 303
    return client


def test_both_come_in_and_one_may_decide(served):
    """Each link is of its person: one is told why not, the other is asked; the refused run says by which rule."""
    ada, grace = enter(served, "ada"), enter(served, "grace")
    assert "storage.rego:4" in ada.get(f"/runs/{served['denied']}").text
    decide = f"/runs/{served['run']}/steps/bucket/decide"
    assert "you asked for this change" in ada.get(decide).text
    assert 'value="approve"' in grace.get(decide).text
    assert decide in grace.get("/approvals").text


def test_one_flipped_byte_is_named(served):
    """The command that is printed spoils the log, and the verifier says where: by the command and by the API."""
    home = ("--home", served["home"])
    with closing(open_house(Settings(), dict(os.environ), Path(served["home"]), None)) as house:
        bearer = {"Authorization": f"Bearer {house.tokens.create(house.who, 'an auditor').secret}"}
    client = httpx2.Client(base_url=served["url"], headers=bearer, timeout=60)
    assert client.post("/api/v1/audit/verify").json()["outcome"] == "ok"
    done = mandamus(*served["tamper"].split()[1:], "--output", "json")
    assert done.returncode == 0, done.stderr
    leaf = json.loads(done.stdout)["leaf"]
    found = mandamus(*home, "audit", "verify")
    assert found.returncode == 10
    assert f"(leaf {leaf})" in found.stdout
    report = client.post("/api/v1/audit/verify").json()
    assert report["outcome"] == "tampered"
    assert leaf in {each["leaf"] for each in report["problems"]}


def test_nothing_but_a_demo_is_tampered_with(tmp_path: Path):
    """A home that is no demo's stays as it is."""
    open_house(Settings(), dict(os.environ), tmp_path / "home", None).close()
    before = (tmp_path / "home" / "mandamus.db").read_bytes()
    done = mandamus("demo", "--tamper", str(tmp_path))
    assert done.returncode == 1
    assert "there is no demo" in done.stderr
    assert (tmp_path / "home" / "mandamus.db").read_bytes() == before


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path):
    """What stands there is somebody's."""
    (tmp_path / "mine").touch()
    done = mandamus("demo", "--serve", "--folder", str(tmp_path))
    assert done.returncode == 1
    assert "is not empty" in done.stderr


@pytest.mark.slow
def test_it_leaves_nothing_behind(tmp_path: Path):
    """Interrupted, it ends well, and what it made for itself is gone."""
    words = [*WORDS, "demo", "--serve", "--port", "0", "--output", "json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        made = json.loads(process.stdout.readline())
        assert Path(made["home"]).is_dir()
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0
    assert not Path(made["folder"]).exists()
