"""Commands on a server: the same words and the same codes as in a home, and a plain refusal of what needs the home."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mandamus.cli.main import COMMANDS

PROJECTS = "projects:\n  storage: {root: .}\n"


@pytest.fixture(scope="module")
def server(shared) -> Iterator[str]:
    """The URL of a real server on the shared home, which has its project registered."""
    file = shared.project / "projects.yaml"
    file.write_text(PROJECTS)
    assert shared("env", "apply", str(file)).code == 0
    words = [sys.executable, "-m", "mandamus", "--home", str(shared.home), "up", "--port", "0"]
    environ = {**os.environ, "HOME": "/nonexistent"}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(words, env=environ, **pipes) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait(60) == 0


Far = Callable[..., Any]


@pytest.fixture(scope="module")
def far(shared, server, tmp_path_factory) -> Far:
    """Runs a command on the server as somebody, without any home."""
    tokens = {user: shared("token", "create", "a test", as_=user).out.strip() for user in ("ada", "grace", "joan")}
    tokens["owner"] = shared("token", "create", "a test").out.strip()
    nowhere = tmp_path_factory.mktemp("nowhere")

    def run(*words: str, as_: str = "ada", environ: dict[str, str] | None = None, **options: Any) -> Any:
        given = {"MANDAMUS_SERVER": server, "MANDAMUS_TOKEN": tokens[as_], **(environ or {})}
        shell = type(shared)(nowhere / "home", nowhere, {**shared.environ, **given})
        told = shell(*words, home=False, **options)
        assert tokens[as_] not in told.out + told.err
        return told

    run.tokens = tokens
    run.nowhere = nowhere
    return run


@pytest.fixture
def alike(steady) -> Callable[[str], str]:
    """A text without what may differ between a home and a server: the option that names the place."""
    return lambda text: re.sub(r" --home HOME", "", steady(text))


def test_a_change_goes_from_request_to_proof_on_a_server(far, shared, tmp_path):
    """Asked with exit code 3, refused for its maker, approved by another, logged, and proved against the log's key."""
    asked = far("run", "deploy", "--env", "dev", "-i", "asked=true", "-i", "says=hello", "--reason", "archive")
    assert asked.code == 3, asked
    assert "1 of group platform (grace)" in asked.err
    own = far("approve", asked.run)
    assert own.code == 1
    assert "error[approval_refused]" in own.err
    given = far("approve", asked.run, "--reason", "as agreed", as_="grace")
    assert given.code == 0, given
    assert "grace said yes to step change" in given.err
    assert "succeeded" in given.err
    assert far("runs", "logs", asked.run, "change").out == "hello\n"
    assert far("runs", "logs", asked.run, "change", "--follow").out == "hello\n"
    file = tmp_path / "proof.zip"
    exported = far("evidence", "export", asked.run, str(file))
    assert exported.code == 0, exported
    trust = str(shared.home / "log" / "log.vkey")
    assert shared("evidence", "verify", str(file), "--trust", trust, home=False).code == 0
    again = far("evidence", "export", asked.run, str(file))
    assert (again.code, "is there already" in again.err) == (1, True)


def test_a_no_has_the_same_code_and_words(far, shared, alike):
    """Denied by policy is 4 with rule and remedy, also for the plan alone; a no that was said is 0."""
    words = ("--env", "dev", "-i", "public=true")
    there = far("run", "deploy", *words, "--project", "storage")
    here = shared("run", "deploy", *words, "--project", str(shared.project), as_="ada")
    assert there.code == here.code == 4
    assert "nothing may be public" in there.err
    assert talk(alike(there.err)) == talk(alike(here.err))
    assert far("plan", "deploy", *words).code == 4
    planned = far("plan", "workflows/deploy.yaml", "--env", "dev", "--output", "json")
    assert (planned.code, planned.json["state"]) == (0, "planned")

    asked = far("run", "deploy", "--env", "dev", "-i", "asked=true", "--detach")
    assert asked.code == 0
    assert far("runs", "watch", asked.run).code == 3
    rejected = far("reject", asked.run, "--reason", "wrong region", as_="grace")
    assert rejected.code == 0, rejected
    assert "grace said no" in rejected.err


def test_a_run_is_stopped_and_tried_again(far):
    """Cancel ends well when the run is cancelled, retry follows it again."""
    run = far("run", "deploy", "--env", "dev", "-i", "asked=true").run
    cancelled = far("runs", "cancel", run, "--reason", "wrong account")
    assert cancelled.code == 0, cancelled
    assert "is told to stop" in cancelled.err
    assert far("runs", "retry", run).code == 3


def same(far, shared, alike, *words: str) -> None:
    """Assert that a command says the same in the home and on the server, as a table and as a document."""
    here, there = shared(*words), far(*words, as_="owner")
    assert here.code == there.code == 0, there
    assert (unplaced(there.out), alike(there.err)) == (unplaced(here.out), alike(here.err))
    here, there = (run(*words, "--output", "json") for run in (shared, partial(far, as_="owner")))
    assert json.loads(unplaced(there.out)) == json.loads(unplaced(here.out))


def unplaced(text: str) -> str:
    """A text without the home in the commands it suggests."""
    return re.sub(r" --home [^\s\"]+", "", text)


def test_what_is_shown_of_a_run_is_the_same_as_in_the_home(far, shared, alike):
    """Who asks, what changes, what policy says, who decides: every line and every field."""
    run = far("run", "deploy", "--env", "dev", "-i", "asked=true").run
    same(far, shared, alike, "runs", "show", run)
    same(far, shared, alike, "runs", "list", "--state", "waiting")


def test_what_projects_offer_is_the_same_as_in_the_home(far, shared, alike):
    """Each workflow with what it takes and does; the command that asks for it stands below; a slip has a remedy."""
    same(far, shared, alike, "catalog", "list")
    same(far, shared, alike, "catalog", "show", "storage", "deploy")
    same(far, shared, alike, "catalog", "show", "storage", "deploy", "--env", "dev")
    shown = far("catalog", "show", "storage", "deploy", "--env", "dev")
    assert "asked    1 of anybody else\n" in shown.out
    shown = far("catalog", "show", "storage", "deploy")
    assert 'input  says: string, default "done"\n' in shown.out
    assert "step   after: script, after change\n" in shown.out
    assert "run workflows/deploy.yaml --env NAME --project storage\n" in shown.err
    slip = far("catalog", "show", "storage", "workflows/deplot.yaml")
    assert slip.code == 1
    assert "did you mean `workflows/deploy.yaml`?" in slip.err
    assert far("catalog", "list", "storag").code == 1


@pytest.mark.slow
def test_everything_that_is_shown_is_the_same_as_in_the_home(far, shared, alike):
    """Lists, runs, logs, decisions, environments, policy sets, of a run in each state of interest."""
    asked = [shared.ask(**inputs).run for inputs in ({"asked": "true"}, {"public": "true"}, {"code": "3"}, {})]
    for words in (
        ("runs", "list", "--limit", "3"),
        ("runs", "list", "--state", "denied"),
        ("env", "list"),
        ("env", "show", "dev"),
        ("policy", "decisions", "--limit", "2"),
        ("policy", "decisions", "--outcome", "deny", "--run", asked[1]),
        ("policy", "sets"),
        *(("runs", "show", run, "--full") for run in asked),
        *(("runs", "logs", run, "change") for run in asked),
    ):
        same(far, shared, alike, *words)


def talk(text: str) -> list[str]:
    """What is said at the end of a run; what is said on the way depends on how often one looks."""
    lines = text.splitlines()
    return lines[next(at for at, line in enumerate(lines) if " is denied" in line) :]


def test_an_auditor_finds_and_proves_an_event_from_afar(far, shared, tmp_path):
    """Search in pages, and a leaf with a proof that a stranger checks against the log's key."""
    found = far("audit", "search", "--kind", "run.requested", "--limit", "1", "--output", "json", as_="owner").json
    assert [each["leaf"]["kind"] for each in found["events"]] == ["run.requested"]
    index = str(found["events"][0]["index"])
    leaf, proof = tmp_path / "leaf", tmp_path / "proof"
    shown = far("audit", "show", index, "--leaf", str(leaf), "--proof", str(proof), as_="owner")
    assert shown.code == 0, shown
    assert shown.out == shared("audit", "show", index).out
    assert re.fullmatch(rf"leaf {index} of \d+ of \S+\n", shown.err)
    trust = str(shared.home / "log" / "log.vkey")
    checked = shared("audit", "check-proof", str(proof), "--leaf", str(leaf), "--trust", trust, home=False)
    assert checked.code == 0, checked


def test_an_exemption_is_granted_listed_and_ended_from_afar(far, shared):
    """The same words, the same rules: it needs a moment to end and a reason, and counts in the home at once."""
    (name,) = {each["name"] for each in shared("policy", "sets", "--output", "json").json}
    rule = (name, "mandamus.plan.deny", "--env", "dev")
    past = far("policy", "exempt", "grant", *rule, "--until", "2020-01-31", "--reason", "late", as_="owner")
    assert (past.code, "error[exemption_invalid]" in past.err) == (2, True)
    mine = far("policy", "exempt", "grant", *rule, "--until", "2027-01-31", "--reason", "mine")
    assert "error[forbidden]" in mine.err
    granted = far("policy", "exempt", "grant", *rule, "--until", "2027-01-31", "--reason", "vendor fix", as_="owner")
    assert granted.code == 0, granted
    here = shared("policy", "exempt", "list", "--output", "json").json
    assert far("policy", "exempt", "list", "--output", "json").json == here
    assert [each["why"] for each in here] == ["vendor fix"]
    assert far("policy", "exempt", "end", here[0]["id"], "--reason", "mended", as_="owner").code == 0
    assert far("policy", "exempt", "list", "--output", "json").json == []


def test_a_server_verifies_its_own_log_and_says_that_this_is_no_proof(far):
    """The same code as in the home; what is for a stranger is refused with the way to it."""
    told = far("audit", "verify", as_="owner")
    assert told.code == 0, told
    assert ": ok, " in told.out
    assert "of itself" in told.err
    refused = far("audit", "verify", "--anchors", as_="owner")
    assert (refused.code, "--log" in refused.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("init", "DIR"), ("env", "apply", "FILE"), ("up",), ("login-link",), ("doctor",),
        ("password", "set"), ("password", "remove"),
        ("audit", "erase", "joan", "--reason", "asked"), ("audit", "rotate-key", "--reason", "due"),
        ("policy", "explain", "dec_01m89tq850e2cvgwyfb9428ekw"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_needs_the_home_says_so(far, tmp_path, words):
    """A usage error that names the way out; nothing is made on this machine."""
    (tmp_path / "platform.yaml").write_text(PROJECTS)
    given = {"DIR": str(tmp_path / "new"), "FILE": str(tmp_path / "platform.yaml")}
    told = far(*(given.get(each, each) for each in words), as_="owner")
    assert told.code == 2, told
    assert "needs the home itself" in told.err, told
    assert "--server" in told.err
    assert not (tmp_path / "new").exists()
    assert not (far.nowhere / "home").exists()


def test_every_command_takes_a_server_or_refuses_it(far):
    """Nothing that is asked about a server falls back on a home in silence: no home is there, and none is missed."""
    assert COMMANDS.keys() >= {"login", "run", "runs"}
    for words in (("runs", "list"), ("env", "list"), ("doctor",), ("audit", "verify"), ("policy", "exempt", "list")):
        assert "there is no home" not in far(*words).err


def test_a_token_is_made_used_and_ended_from_afar(far):
    """The secret is shown once; it is good until it is ended."""
    made = far("token", "create", "ci", "--days", "1", "--only", "system:read", "--only", "run:read")
    assert made.code == 0, made
    secret = {"MANDAMUS_TOKEN": made.out.strip()}
    assert far("runs", "list", environ=secret).code == 0
    (listed,) = [each for each in far("token", "list", "--output", "json").json if each["name"] == "ci"]
    assert sorted(listed["permissions"]) == ["run:read", "system:read"]
    assert far("token", "revoke", listed["id"]).code == 0
    assert "error[unauthenticated]" in far("runs", "list", environ=secret).err


def test_access_is_reviewed_and_ended_from_afar(far, shared):
    """The same review in three forms, there as here, for whoever may read everything; sessions by whose they are."""
    document = far("access", "review", "--output", "json", as_="owner").json
    here = shared("access", "review", "--output", "json").json
    assert document["permissions"] == here["permissions"]
    assert {each["user"] for each in document["permissions"]} >= {"ada", "grace", "joan"}
    assert document["approvers"] == here["approvers"]
    table = far("access", "review", "--output", "csv", as_="owner").out
    assert table.splitlines()[0].startswith("kind,user,nature,role")
    assert table == shared("access", "review", "--output", "csv").out
    assert "ENVIRONMENT" in far("access", "review", as_="owner").out
    assert "error[forbidden]" in far("access", "review").err
    assert far("session", "list", "--output", "json").json == []
    assert "error[forbidden]" in far("session", "list", "--all").err
    assert "error[not_found]" in far("session", "end", "ses_01m89tq850e2cvgwyfb9428ekw").err
    assert far("session", "end").code == 2
    secret = {"MANDAMUS_TOKEN": shared("token", "create", "short", as_="joan").out.strip()}
    assert far("runs", "list", environ=secret).code == 0
    assert "error[forbidden]" in far("session", "end", "--user", "joan", "--all").err
    ended = far("session", "end", "--user", "joan", "--all", "--output", "json", as_="owner").json
    assert (ended["user"], ended["tokens"] >= 2) == ("joan", True)
    assert "error[unauthenticated]" in far("runs", "list", environ=secret).err
    far.tokens["joan"] = shared("token", "create", "a test", as_="joan").out.strip()


def test_who_acts_is_whoever_the_token_is_of(far, server):
    """--as and MANDAMUS_USER have no say; a home that is named besides is a mistake, and wins over the variable."""
    for told in (far("--as", "grace", "runs", "list"), far("runs", "list", environ={"MANDAMUS_USER": "grace"})):
        assert told.code == 2
        assert "whoever the token is of" in told.err
    both = far("--home", "here", "--server", server, "runs", "list")
    assert (both.code, "two places" in both.err) == (2, True)
    assert "there is no home in" in far("--home", "here", "runs", "list").err


def test_a_login_is_kept_for_its_server_and_for_nobody_else(far, server, tmp_path, monkeypatch):
    """The token comes by standard input, is tried first, and is then in a file of mode 0600, by server."""
    environ = {"MANDAMUS_TOKEN": "", "XDG_CONFIG_HOME": str(tmp_path)}
    missing = far("runs", "list", environ=environ)
    assert missing.code == 1
    assert "error[unauthenticated]" in missing.err
    assert "mandamus login" in missing.err
    assert far("login", "--token-stdin", "--only", "run:read", environ=environ).code == 2

    monkeypatch.setattr(sys, "stdin", io.StringIO("mdm_" + "A" * 43 + "000000\n"))
    assert "error[unauthenticated]" in far("login", "--token-stdin", environ=environ).err
    file = tmp_path / "mandamus" / "tokens.json"
    assert not file.exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO(far.tokens["ada"] + "\n"))
    kept = far("login", "--token-stdin", "--server", server + "/", environ=environ)
    assert kept.code == 0, kept
    assert kept.out == f"ada at {server}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert far("runs", "list", environ=environ).code == 0
    other = far("runs", "list", "--server", "https://other.example.com", environ=environ)
    assert "there is no token for https://other.example.com" in other.err
    file.chmod(0o640)
    refused = far("runs", "list", environ=environ)
    assert (refused.code, "by others" in refused.err) == (2, True)


def test_a_token_is_not_sent_over_http_to_another_machine(far):
    """Refused before anything is sent."""
    told = far("runs", "list", environ={"MANDAMUS_SERVER": "http://192.0.2.1:8400"})
    assert told.code == 2
    assert "could be read on its way" in told.err


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_told_of(far):
    """With its address, and that trying again may help."""
    told = far("runs", "list", "--output", "json", environ={"MANDAMUS_SERVER": "http://127.0.0.1:1"})
    assert told.code == 1
    error = told.json["error"]
    assert (error["code"], error["retryable"]) == ("unavailable", True)
    assert "http://127.0.0.1:1" in error["message"]


def test_suggested_commands_name_the_server_that_was_given(far, server):
    """What is suggested can be typed as it stands."""
    told = far("--server", server, "run", "deploy", "--env", "dev", "-i", "asked=true", environ={"MANDAMUS_SERVER": ""})
    assert f"mandamus --server {server} approve {told.run}" in told.err
    missing = Path("/nonexistent/bundle.zip")
    assert "error[conflict]" in far("evidence", "export", told.run, str(missing)).err
