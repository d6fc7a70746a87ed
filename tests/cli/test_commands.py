"""The commands around a run: plan, init, env and doctor, as people and scripts see them."""

from __future__ import annotations

import os
import re
from contextlib import closing

import pytest

from mandamus.bootstrap.house import open_house
from mandamus.kernel.errors import Exit
from mandamus.settings import Settings

PLANNED = r"""
change  script 1, opaque, sandbox required
  run 1
      > change  # confidence opaque
          dir: "."
          env.CODE: "0"
          env.SAYS: "done"
          run: "printf \"%s\\\\n\" \"$SAYS\"; exit \"$CODE\""
          shell: "sh"
  1 to run

after  script 1, opaque, sandbox required
  run 1
      > after  # confidence opaque
          dir: "."
          env: {}
          run: "true"
          shell: "sh"
  1 to run

STEP    STATE    ATTEMPT  WHAT
change  planned  1        1 run
after   planned  1        1 run
""".lstrip("\n")


def _plan(shell, *words: str):
    return shell("plan", "deploy", "--env", "dev", "--project", str(shell.project), *words, as_="ada")


def test_a_plan_shows_what_would_change_and_applies_nothing(shared, steady):
    """Every step's change set, who would be asked, and the command that asks for it for good."""
    told = _plan(shared, "-i", "asked=true")
    assert told.code == Exit.OK
    assert told.out == PLANNED
    assert "step change would wait for 1 of platform: changes are looked at\n" in told.err
    asking = "run workflows/deploy.yaml --env dev -i asked=true -i code=0 -i public=false -i says=done"
    assert steady(told.err).endswith(f"next: mandamus --home HOME {asking}\n")
    assert shared("runs", "logs", told.run, "change").out == ""


def test_a_plan_is_one_document_with_its_changes(shared):
    """Scripts get the change sets by step, beside everything a run has."""
    found = _plan(shared, "--output", "json").json
    assert (found["state"], found["plan_only"]) == ("planned", True)
    assert found["changes"].keys() == {"change", "after"}
    assert found["changes"]["after"]["changes"][0]["action"] == "run"
    assert _plan(shared, "-i", "public=true").code == Exit.DENIED


def test_bad_inputs_are_told_before_anything_is_recorded(shared):
    """An input the workflow does not know, or of another type, is exit 2 with the nearest name, and no run."""
    before = shared("runs", "list", "--output", "json").json["runs"]
    unknown = _plan(shared, "-i", "publik=true")
    assert unknown.code == Exit.USAGE
    assert "public" in unknown.err
    assert _plan(shared, "-i", "code=many").code == Exit.USAGE
    missing = shared("run", "nothing", "--env", "dev", "--project", str(shared.project))
    assert missing.code == Exit.FAILED
    nowhere = shared("run", "deploy", "--env", "dve", "--project", str(shared.project))
    assert nowhere.code == Exit.FAILED
    assert "did you mean `dev`?" in nowhere.err
    assert shared("runs", "list", "--output", "json").json["runs"] == before


def test_a_new_project_checks_and_runs_as_it_is(bare, monkeypatch, tmp_path):
    """`init`, and then the very commands it names, in its order: nothing has to be known or written first."""
    monkeypatch.chdir(tmp_path)
    told = bare("init", "mine", "--no-terraform")
    assert told.code == Exit.OK, told
    names = [line.removeprefix("wrote mine/") for line in told.out.splitlines()]
    assert {"mandamus.yaml", "platform.yaml", "workflows/hello.yaml"} <= set(names)
    commands = re.findall(r"(?m)^next: (.*)$", told.err)
    assert commands[0] == "cd mine"
    monkeypatch.chdir(tmp_path / "mine")
    for command in commands[1:]:
        words = command.split()[3:]
        assert command.split()[:2] == ["mandamus", "--home"]
        done = bare(*words)
        assert done.code == Exit.OK, (command, done)
    (tmp_path / "mine" / "platform.yaml").write_text("# ours now\n")
    again = bare("init", ".", "--no-terraform")
    assert (again.code, again.out) == (Exit.FAILED, "")
    assert "platform.yaml" in again.err
    assert (tmp_path / "mine" / "platform.yaml").read_text() == "# ours now\n"


def test_environments_are_listed_and_shown(shared, steady):
    """What is declared, by whom, and who approves; a secret's value is nowhere, since it is not stored."""
    assert "dev" in shared("env", "list").out
    told = shared("env", "show", "dev")
    assert steady(told.out).splitlines()[:3] == ["dev", "digest     sha256:DIGEST", "applied by OWNER"]
    assert "sandbox required" in told.out
    listed = shared("env", "list", "--output", "json").json
    assert [each["name"] for each in listed] == ["dev"]
    missing = shared("env", "show", "dve")
    assert missing.code == Exit.FAILED
    assert "did you mean `dev`?" in missing.err


def test_an_environment_says_who_holds_its_states(shared):
    """The step and its run, as long as it does."""
    run = _plan(shared).run
    with closing(open_house(Settings(), dict(os.environ), shared.home, None)) as house:
        with house.rooms.db.begin("test") as tx:
            house.rooms.states.acquire(tx, "dev", "network", run, "change")
        told, found = shared("env", "show", "dev").out, shared("env", "show", "dev", "--output", "json").json
        with house.rooms.db.begin("test") as tx:
            house.rooms.states.release(tx, "dev", "network", run, "change")
    assert f"\nlock       network held by step change of {run} since " in told
    (lock,) = found["locks"]
    assert (lock["name"], lock["run"], lock["step"]) == ("network", run, "change")
    assert shared("env", "show", "dev", "--output", "json").json["locks"] == []


def test_the_log_says_how_it_stands(shared):
    """The newest checkpoint, what waits, and who has seen it: nobody yet."""
    found = shared("audit", "standing", "--output", "json").json
    assert (found["size"] > 0, found["witnesses"], found["anchors"]) == (True, [], [])
    assert re.fullmatch(r"checkpoint \d+ leaves, signed \S+ \S+\nwaiting    \d+\n", shared("audit", "standing").out)


def test_a_bad_platform_file_is_told_whole(shared):
    """Every problem with its place, exit 2, and a way out."""
    file = shared.project / "bad.yaml"
    file.write_text("environments:\n  dev: {polices: []}\n  other: {pool: {sandbox: maybe}}\n")
    told = shared("env", "apply", str(file))
    assert told.code == Exit.USAGE
    assert told.err.startswith("error[environment_invalid]: 2 problems\n")
    assert f"{file}:2:" in told.err
    assert "did you mean `policies`?" in told.err
    assert "\nremedy: " in told.err


@pytest.mark.parametrize("words", [["approve"], ["reject"]])
def test_deciding_on_nothing_is_refused(shared, words):
    """A run that does not wait cannot be decided on; the error says where to look."""
    ended = _plan(shared)
    told = shared(*words, ended.run, as_="grace")
    assert told.code == Exit.FAILED
    assert told.err.startswith(f"error[approval_refused]: nothing in {ended.run} waits for approval\nremedy: ")


def test_who_may_not_act_is_recorded(shared):
    """A claim of somebody nobody knows is refused; a verb one may not use is refused and leaves an event."""
    unknown = shared("runs", "list", as_="mallory")
    assert unknown.code == Exit.FAILED
    assert unknown.err.startswith("error[not_found]: there is no user mallory")
    denied = shared("env", "apply", str(shared.project / "platform.yaml"), as_="ada")
    assert denied.code == Exit.FAILED
    assert denied.err.startswith("error[forbidden]: ada may not environment:write\n")
    leaves = b"".join(path.read_bytes() for path in shared.home.glob("log/tile/entries/**/*") if path.is_file())
    assert b'"kind":"access.denied"' in leaves


def test_the_doctor_speaks_to_people_and_scripts(shared):
    """One line per check; findings as a document; exit 0 when nothing failed."""
    told = shared("doctor")
    assert told.code == Exit.OK, told
    assert told.out.splitlines()[0].split() == ["CHECK", "STATE", "WHAT"]
    found = shared("doctor", "--output", "json").json
    assert found["ok"] is True
    assert found["findings"][0].keys() == {"check", "level", "message", "remedy", "fatal"}


def test_the_doctor_works_on_a_home_that_does_not_open(shell):
    """A key others can read stops the home from opening, not the doctor: the fault, the way out, and exit 1."""
    key = shell.home / "keys" / "log"
    key.chmod(0o644)
    told = shell("doctor")
    assert told.code == Exit.FAILED
    assert f"key {key} can be read by others (mode 644)" in told.out
    assert f"keys: remedy: `chmod 600 {key}`" in told.err
    assert "database  " not in told.out
    key.chmod(0o600)
    (shell.home / "mandamus.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 9_000)
    broken = shell("doctor")
    assert broken.code == Exit.FAILED
    assert re.search("home opens +failed +the database cannot be used: ", broken.out), broken
    assert "Traceback" not in broken.err
    (shell.home / "mandamus.db").unlink()
    assert "is not there" in shell("doctor").out
    assert not (shell.home / "mandamus.db").exists()


def test_the_doctor_finds_no_home(bare):
    """Without a home it says so, and makes none."""
    told = bare("doctor")
    assert told.code == Exit.FAILED
    assert f"there is no home in {bare.home}" in told.out
    assert not bare.home.exists()
