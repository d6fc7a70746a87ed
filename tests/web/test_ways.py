"""What a page says to copy does what the page shows: each such command is run by a shell against a real server."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NEEDS_HOME = "this needs the home itself"
GAPS = re.compile(r"NAME|VKEY|ENVIRONMENT|TEXT|FILE|DIR|platform\.yaml|login|logout|token create|mandamus up|policy/")
"""What a person fills in, or what is for people at a terminal."""
FINE = {0, 3, 4, 5}
"""Exit codes of a command that said what it was asked for: fine, waiting, denied, drift."""


@pytest.fixture(scope="module")
def server(place, serve, tmp_path_factory) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a real server, and an environment in which commands reach it as grace."""
    with serve(place.house.home, tmp_path_factory.mktemp("ways") / "log") as url:
        grace = place.house.identity.active("grace")
        secret = place.house.tokens.create(grace, "a test").secret
        program = Path(sys.executable).parent
        yield url, {**os.environ, "PATH": f"{program}:{os.environ['PATH']}", "MANDAMUS_TOKEN": secret}


def copied(visit, runs) -> dict[str, str]:
    """Every command that some page says to copy, and which page."""
    client, run = visit("grace"), runs["succeeded"]
    audit = client.app.state.house.audit
    audit.flush()
    decisions = client.app.state.house.policy.decisions(client.app.state.house.who, runs["denied"])
    pages = [
        *("/", "/runs?state=failed&text=it's $(here)", "/approvals", "/catalog", "/workflows", "/environments"),
        *(
            "/environments/dev",
            "/policies",
            "/policies/sets/guard",
            "/audit",
            f"/runs/{run}",
            f"/runs/{run}/steps/change",
        ),
        *(f"/runs/{run}/steps/change/log", f"/runs/{runs['waiting']}/steps/change/decide"),
        *(f"/policies/decisions/{decisions[0].id}", f"/audit/{audit.events(run)[0].index}", "/settings"),
        *("/workflows/storage/workflows/deploy.yaml", "/settings/people", "/settings/tokens"),
    ]
    found: dict[str, str] = {}
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, page
        for command in re.findall(r'data-copy="([^"]*)"', answer.text):
            found.setdefault(html.unescape(command), page)
    return found


def shell(command: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What becomes of a command that somebody pastes in a folder of theirs."""
    words = ["/bin/sh", "-c", command]
    return subprocess.run(words, env=environ, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_each_curl_answers(server, visit, runs, tmp_path):
    """With the token from the environment and by a pipe; whatever stands in a filter stays one word."""
    url, environ = server
    commands = {each: page for each, page in copied(visit, runs).items() if "| curl " in each}
    assert len(commands) > 12
    for command, page in commands.items():
        assert environ["MANDAMUS_TOKEN"] not in command
        assert '"$MANDAMUS_TOKEN" | curl' in command
        done = shell(command.replace("http://testserver", url), environ, tmp_path)
        assert done.returncode == 0, (page, command, done.stdout, done.stderr)
        assert done.stdout, command
    refused = shell(
        next(iter(commands)).replace("http://testserver", url), {**environ, "MANDAMUS_TOKEN": "none"}, tmp_path
    )
    assert refused.returncode != 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_command_runs(server, visit, runs, place, tmp_path):
    """Where it needs the home itself, there; with what a person fills in left out."""
    url, environ = server
    commands = {each: page for each, page in copied(visit, runs).items() if "| curl " not in each}
    whole = {each: page for each, page in commands.items() if not GAPS.search(each) and " approve " not in each}
    assert len(whole) > 10
    for command, page in whole.items():
        done = shell(command, {**environ, "MANDAMUS_SERVER": url}, tmp_path)
        if NEEDS_HOME in done.stderr:
            done = shell(
                command, {**os.environ, "PATH": environ["PATH"], "MANDAMUS_HOME": str(place.house.home)}, tmp_path
            )
        assert done.returncode in FINE, (page, command, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_list_as_a_command_lists_the_same(server, visit, runs, place, tmp_path):
    """The filter of the address is that of the command, quoted for a shell."""
    url, environ = server
    run = place.run(reason="it's $(here)")
    commands = [each for each, page in copied(visit, runs).items() if page.startswith("/runs?")]
    listed = next(each for each in commands if each.startswith("mandamus runs list"))
    assert listed == """mandamus runs list --state failed --text 'it'"'"'s $(here)'"""
    done = shell(
        f"{listed} --output json".replace("failed", "succeeded"), {**environ, "MANDAMUS_SERVER": url}, tmp_path
    )
    assert run in done.stdout, done.stderr
