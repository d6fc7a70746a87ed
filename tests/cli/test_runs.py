from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from mandamus.cli.commands.runs import SETTLED_AS
from mandamus.kernel.errors import Exit
from mandamus.runs.settle import OUTCOMES

WAITS_OUT = """\
STEP    STATE    ATTEMPT  WHAT
change  waiting  1        1 run
after   pending  1
"""
WAITS_ERR = """\
run_ID of deploy in dev
SECONDS  change: planning
SECONDS  change: waiting  waits for 1 of platform
run_ID is waiting
  step change waits for 1 of group platform (grace): changes are looked at
    bound to sha256:DIGEST, until TIME
next, for grace: mandamus --home HOME approve run_ID
"""
SHOWN = r"""
run_ID  waiting
  asked by  ada (local, unverified: os-user OWNER), TIME
  reason    a test
  workflow  deploy (workflows/deploy.yaml) in dev
  inputs    asked=true, code=0, public=false, says="done"
  made by   MAKERS
  source    sha256:DIGEST

STEP    STATE    ATTEMPT  WHAT
change  waiting  1        1 run
after   pending  1

change  script 1, opaque, sandbox required
  run 1
      > change  # confidence opaque
          dir: "."
          env.CODE: "0"
          env.SAYS: "done"
          run: "printf \"%s\\\\n\" \"$SAYS\"; exit \"$CODE\""
          shell: "sh"
  1 to run
  policy on change, point plan: needs_approval
    rules.rego:12: 1 of platform: changes are looked at
    rules.rego:7: mandamus.plan.warn: tell the team before you do

  step change waits for 1 of group platform (grace): changes are looked at
    bound to sha256:DIGEST, until TIME
""".lstrip("\n")
DENIED = """\
run_ID  denied, took SECONDS
  asked by  ada (local, unverified: os-user OWNER), TIME
  reason    none given
  workflow  deploy (workflows/deploy.yaml) in dev
  inputs    asked=false, code=0, public=true, says="done"
  made by   MAKERS
  source    sha256:DIGEST
  evidence  sha256:DIGEST
  policy_denied: step change: denied by policy
    rules.rego:3: mandamus.plan.deny: nothing may be public
  remedy: ask again with public=false
"""


def _steady(steady, text: str) -> str:
    """Without ids, digests, times and the widths that follow from them."""
    return "\n".join(
        part.strip() if "SECONDS" in part and "took" not in part else part for part in steady(text).split("\n")
    )


@pytest.fixture(scope="module")
def waiting(shared):
    """A run that waits for somebody of platform."""
    return shared.ask("--reason", "a test", asked="true")


@pytest.fixture(scope="module")
def denied(shared):
    """A run that policy denied."""
    return shared.ask(public="true")


@pytest.fixture(scope="module")
def failed(shared):
    """A run whose first step failed."""
    return shared.ask(code="3", says="it is\x1b[2J broken")


def test_a_run_that_waits_says_for_whom(waiting, steady):
    """Data is the steps; the talk says who is asked, for what digest, until when, and the next command."""
    assert waiting.code == Exit.WAITING
    assert waiting.out == WAITS_OUT
    assert _steady(steady, waiting.err) == WAITS_ERR


def test_an_approver_sees_everything_on_one_page(shared, waiting, steady):
    """Who asks, why, what changes, what policy says with file and line, who is asked and what a yes is bound to."""
    told = shared("runs", "show", waiting.run, as_="grace")
    assert told.code == Exit.OK
    assert _steady(steady, told.out) == SHOWN
    assert steady(told.err) == "next: mandamus --home HOME approve run_ID\n"
    assert steady(shared("runs", "show", waiting.run, as_="ada").err).startswith("next, for grace: ")


def test_a_denial_names_rule_file_line_and_the_way_out(shared, denied, steady):
    """Exit code 4; rule, file and line, the policy's own remedy, and the command to ask again with."""
    assert denied.code == Exit.DENIED
    told = shared("runs", "show", denied.run)
    assert steady(told.out).startswith(DENIED)
    assert "policy on change, point plan: deny\n    rules.rego:3" in told.out
    assert steady(told.err) == (
        "next, mended as the remedy says: mandamus --home HOME run workflows/deploy.yaml --env dev "
        "-i asked=false -i code=0 -i public=true -i says=done\n"
    )


def test_a_failure_leads_to_the_log(shared, failed):
    """Exit code 1, what the tool said last, and the commands that show more and try again."""
    assert failed.code == Exit.FAILED
    assert "ended with exit code 3" in failed.out
    assert f"runs logs {failed.run} change" in failed.err
    assert f"runs retry {failed.run}" in failed.err
    assert "\x1b" not in failed.out + failed.err


def test_a_run_as_a_document(shared, waiting):
    """``--output json`` of `show` has what people see, by name: nobody has to parse a table."""
    found = shared("runs", "show", waiting.run, "--output", "json").json
    assert (found["run"], found["state"], found["requester"], found["reason"]) == (
        waiting.run,
        "waiting",
        "ada",
        "a test",
    )
    assert found["inputs"] == {"asked": True, "code": 0, "public": False, "says": "done"}
    assert [(step["name"], step["state"], step["summary"]) for step in found["steps"]] == [
        ("change", "waiting", {"run": 1}),
        ("after", "pending", None),
    ]
    (asked,) = found["asked"]
    assert asked["people"] == ["grace"]
    assert asked["binding"] == found["steps"][0]["binding"]
    assert found["changes"]["change"]["schema"] == "changeset/1"
    plan = next(each for each in found["decisions"] if each["point"] == "plan")
    assert plan["outcome"] == "needs_approval"
    assert plan["requires"][0]["group"] == "platform"
    assert plan["warnings"][0]["line"] == 7
    assert found["approvals"] == []
    assert found["next"][0].endswith(f"approve {waiting.run}")


def test_a_denial_as_a_document(denied, shared):
    """The error of a denied run holds its violations as fields."""
    found = shared("runs", "show", denied.run, "--output", "json").json
    (violation,) = found["error"]["context"]["violations"]
    assert violation == {
        "rule": "mandamus.plan.deny",
        "msg": "nothing may be public",
        "file": "rules.rego",
        "line": 3,
        "remedy": "ask again with public=false",
    }


def test_runs_are_listed_newest_first_by_page(shared, waiting, denied, failed):
    """A page says how to get the next one; a filter leaves the others out; the document has the id to go on from."""
    first = shared("runs", "list", "--limit", "2")
    assert [line.split()[0] for line in first.out.splitlines()[1:]] == [failed.run, denied.run]
    assert first.err == f"next page: mandamus --home {shared.home} runs list --before {denied.run}\n"
    second = shared("runs", "list", "--limit", "2", "--before", denied.run)
    assert [line.split()[0] for line in second.out.splitlines()[1:]] == [waiting.run]
    assert second.err == ""
    filtered = shared("runs", "list", "--state", "denied", "--output", "json").json
    assert [run["run"] for run in filtered["runs"]] == [denied.run]
    assert filtered["before"] is None
    page = shared("runs", "list", "--limit", "1", "--output", "json").json
    assert page["before"] == failed.run
    assert page["runs"][0].keys() == {
        "run", "state", "workflow", "environment", "requester", "reason", "plan_only", "requested_us", "closed_us",
    }  # fmt: skip


def test_an_empty_list_says_what_to_do(shell):
    """Before the first run the next command is shown; an empty answer to a filter says what it filtered by."""
    told = shell("runs", "list")
    assert told.out == ""
    assert told.err == f"there are no runs yet\nnext: mandamus --home {shell.home} run WORKFLOW --env NAME\n"
    assert shell("runs", "list", "--output", "json").json == {"runs": [], "before": None}
    assert shell("runs", "list", "--state", "failed").err.startswith("there is no run that is failed\n")


def test_logs_are_shown_without_what_a_terminal_acts_on(shared, failed):
    """A step's output is data, byte for byte but for control sequences; which phase it is of is talk."""
    told = shared("runs", "logs", failed.run, "change")
    assert told.code == Exit.OK
    assert told.out == "it is broken\n"
    assert told.err == "-- apply of step change, attempt 1\n"
    document = shared("runs", "logs", failed.run, "change", "--output", "json")
    assert "\x1b" not in document.out
    assert document.json["output"] == {"plan": "", "apply": "it is\x1b[2J broken\n"}
    assert shared("runs", "logs", failed.run, "change", "--phase", "plan").out == ""


def test_logs_of_what_is_not_there_are_told_apart(shared, failed):
    """A step that never was, an attempt that never was, and a step that printed nothing."""
    missing = shared("runs", "logs", failed.run, "chagne")
    assert missing.code == Exit.FAILED
    assert "did you mean `change`?" in missing.err
    assert "has had 1 attempt, not 2" in shared("runs", "logs", failed.run, "change", "--attempt", "2").err
    quiet = shared("runs", "logs", failed.run, "after", "--follow")
    assert (quiet.code, quiet.out, quiet.err) == (Exit.OK, "", "step after printed nothing in attempt 1\n")


@pytest.mark.parametrize("words", [["show"], ["logs"], ["watch"], ["cancel"], ["retry"], ["settle"]])
def test_a_run_nobody_asked_for_is_not_found(shared, words):
    """Every command that names a run says when there is none, and how to list those that are."""
    more = {"logs": ["s"], "settle": ["s", "--as", "failed", "--reason", "x"]}.get(words[0], [])
    told = shared("runs", *words, "run_" + "0" * 26, *more)
    assert told.code == Exit.FAILED
    assert told.err.startswith(f"error[not_found]: there is no run run_{'0' * 26}\nremedy: list the runs with")


def test_watching_ends_where_the_run_rests(shared, waiting, denied, failed):
    """Each state has its exit code, whoever looks."""
    for told, code in ((waiting, Exit.WAITING), (denied, Exit.DENIED), (failed, Exit.FAILED)):
        assert shared("runs", "watch", told.run).code == code


def test_outcomes_of_settling_are_those_the_service_knows():
    """The words on the command line are the words of the verb."""
    assert SETTLED_AS == OUTCOMES


@pytest.mark.parametrize(
    "words", [("--ticket", "for the archive", "runs", "list"), ("runs", "list", "--ticket", "A B")]
)
def test_a_ticket_of_a_wrong_form_is_wrong_usage(shared, words):
    """It is refused before the home is opened, not when the first event would hold it."""
    told = shared(*words)
    assert told.code == Exit.USAGE
    assert told.err.startswith(
        "error[usage]: the ticket given with --ticket or MANDAMUS_TICKET is no name of a ticket\n"
    )
    assert "such as CHG-1234" in told.err


def test_a_ticket_in_the_environment_is_looked_at_too(shell):
    """The same for whoever sets it for all commands; an option goes before it."""
    shell.environ["MANDAMUS_TICKET"] = "for the archive"
    assert shell("runs", "list").code == Exit.USAGE
    assert shell("runs", "list", "--ticket", "CHG-1").code == Exit.OK


def test_from_request_to_success_and_back(shell, steady):
    """Refused to its maker, approved by another, applied; cancelled while it waits; retried after a failure."""
    shell.environ["MANDAMUS_TICKET"] = "CHG-1234"
    asked = shell.ask(asked="true")
    del shell.environ["MANDAMUS_TICKET"]
    own = shell("approve", asked.run, as_="ada")
    assert own.code == Exit.FAILED
    assert own.err.startswith(
        "error[approval_refused]: ada asked for this change, and nobody approves what they made\n"
    )
    yes = shell("approve", asked.run, "--reason", "as agreed", as_="grace")
    assert yes.code == Exit.OK
    assert steady(yes.err).startswith("grace said yes to step change, bound to sha256:DIGEST\n")
    shown = shell("runs", "show", asked.run)
    assert "  grace said yes to step change for platform: as agreed\n" in shown.out
    assert steady(shown.err) == "next: mandamus --home HOME evidence export run_ID\n"
    assert "  ticket    CHG-1234\n" in shown.out
    again = shell("runs", "cancel", asked.run)
    assert again.code == Exit.FAILED
    assert again.err.startswith("error[conflict]: ")

    no = shell.ask(asked="true")
    told = shell("reject", no.run, "--reason", "not now", as_="grace")
    assert told.code == Exit.OK
    assert shell("runs", "watch", no.run).code == Exit.FAILED
    assert "grace said no to step change for platform: not now" in shell("runs", "show", no.run).out

    cancelled = shell("runs", "cancel", shell.ask(asked="true").run, "--reason", "wrong account")
    assert cancelled.code == Exit.OK
    assert " is cancelled" in cancelled.err

    failed = shell.ask(code="3")
    retried = shell("runs", "retry", failed.run, "--reason", "once more", as_="ada")
    assert retried.code == Exit.FAILED
    assert "change  failed   2" in retried.out
    assert shell("runs", "logs", failed.run, "change", "--attempt", "1").out == "done\n"
    listed = shell("runs", "list", "--output", "json").json["runs"]
    assert [run["state"] for run in listed] == ["failed", "cancelled", "rejected", "succeeded"]


def test_a_list_is_narrowed_by_what_is_wanted(shared, waiting, denied, failed):
    """Each filter leaves the others out, a text is looked for in reasons and ids; the next page keeps them all."""

    def found(*words: str) -> set[str]:
        return {run["run"] for run in shared("runs", "list", *words, "--output", "json").json["runs"]}

    every = {waiting.run, denied.run, failed.run}
    for name, value in (("environment", "dev"), ("workflow", "deploy"), ("since", "2020-01-01")):
        assert found(f"--{name}", value) >= every
    for name, value in (("environment", "no"), ("workflow", "no"), ("requester", "no"), ("project", "no")):
        assert found(f"--{name}", value) == set()
    assert found("--until", "2020-01-01") == set()
    assert found("--text", denied.run[4:].upper()) == {denied.run}
    assert found("--text", "%") == found("--text", "_no_") == set()
    told = shared("runs", "list", "--workflow", "deploy", "--text", "run_", "--limit", "1").err
    assert "--workflow deploy --text run_ --before" in told


def test_drift_has_an_exit_code_of_its_own(shared, waiting):
    """What the newest plan found changed outside is listed with its steps; without any that is said."""
    path, wanted = shared.home / "mandamus.db", (waiting.run, "change")
    fine = shared("runs", "drift")
    assert (fine.code, fine.out) == (Exit.OK, "")
    assert "no plan found" in fine.err
    assert shared("runs", "drift", "--output", "json").json == {"drifted": []}
    with closing(sqlite3.connect(path)) as db:
        (plan,) = db.execute("SELECT plan FROM step WHERE run = ? AND name = ?", wanted).fetchone()
        drifted = json.dumps({**json.loads(plan), "drift": 2}, separators=(",", ":"), sort_keys=True).encode()
        newest = "UPDATE step SET plan = ? WHERE name = 'change' AND plan IS NOT NULL"
        kept = db.execute("SELECT run, plan FROM step WHERE name = 'change' AND plan IS NOT NULL").fetchall()
        db.execute(newest, (drifted,))
        db.commit()
        found = shared("runs", "drift")
        document = shared("runs", "drift", "--output", "json").json
        db.executemany("UPDATE step SET plan = ? WHERE run = ? AND name = 'change'", [(p, r) for r, p in kept])
        db.commit()
    assert found.code == Exit.DRIFT
    assert "2 in change" in found.out
    assert document["drifted"][0]["steps"] == {"change": 2}
