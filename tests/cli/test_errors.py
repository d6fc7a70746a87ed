from __future__ import annotations

import errno
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import click
import pytest
import sqlalchemy as sa

from mandamus.cli.errors import mapped, report
from mandamus.cli.session import Session
from mandamus.kernel.errors import Code, Exit, MandamusError, Problem, raise_problems

HOSTILE = "\x1b]0;t\x07\u202e"


@dataclass
class Reported:
    """A session, and what it has said since it was last read: standard output and standard error."""

    session: Session
    out: Any
    err: Any

    def __call__(self, error: BaseException) -> tuple[str, str]:
        """Report an error; gives what was said."""
        before = len(self.out.text()), len(self.err.text())
        self.code = report(self.session, error)
        return self.out.text()[before[0] :], self.err.text()[before[1] :]


@pytest.fixture
def reported(bare, terminal):
    """Reports errors."""
    out, err = terminal(), terminal()
    with redirect_stdout(out), redirect_stderr(err):
        session = Session(bare.handed())
    return Reported(session, out, err)


def _error(code: Code = Code.CONFLICT, message: str = "the thing is so") -> MandamusError:
    return MandamusError(code, message, remedy="do `mandamus doctor`", context={"a": 1}, retryable=True)


def test_people_read_code_message_and_remedy(reported):
    """Three lines at most on standard error, nothing on standard output, and no traceback."""
    assert reported(_error()) == ("", "error[conflict]: the thing is so\nremedy: do `mandamus doctor`\n")
    assert reported.code == Exit.FAILED


def test_scripts_read_all_four_parts(reported):
    """With ``--output json`` standard output is one document with code, message, remedy, context."""
    reported.session.output = "json"
    out, _ = reported(_error())
    assert json.loads(out) == {
        "error": {
            "code": "conflict",
            "message": "the thing is so",
            "remedy": "do `mandamus doctor`",
            "context": {"a": 1},
            "retryable": True,
        }
    }


@pytest.mark.parametrize("code", list(Code))
def test_the_exit_code_is_the_codes_own(reported, code):
    """Every error code leads to the exit code its table gives it, and never to 0."""
    reported(_error(code))
    assert reported.code == code.exit
    assert code.exit != Exit.OK


def test_many_problems_are_counted(reported):
    """An error that lists problems begins with how many there are."""
    problems = [Problem("f.yaml", n, 1, "c", "m", "r") for n in (1, 2)]
    with pytest.raises(MandamusError) as caught:
        raise_problems(Code.WORKFLOW_INVALID, problems, remedy="mend them")
    assert reported(caught.value)[1].startswith("error[workflow_invalid]: 2 problems\nf.yaml:1:1: c: m (r)\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (click.UsageError("no"), Code.USAGE),
        (click.FileError("f", "gone"), Code.USAGE),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), Code.STORAGE_FULL),
        (PermissionError(errno.EACCES, "Permission denied", "/x y"), Code.UNAVAILABLE),
        (sa.exc.DatabaseError("SELECT 1", {}, ValueError("database disk image is malformed")), Code.HOME_INVALID),
        (ValueError("boom"), Code.INTERNAL),
        (RecursionError(), Code.INTERNAL),
        (MemoryError(), Code.INTERNAL),
    ],
)
def test_every_exception_becomes_one_of_ours(error, code):
    """Whatever is raised has a code, a message and a remedy by the time a person sees it."""
    known = mapped(error)
    assert known.code is code
    assert known.message
    assert known.remedy


def test_a_fault_of_ours_has_an_id_and_no_text_of_its_own(reported):
    """What an unexpected exception says may hold a secret: only its type and a stable id are shown."""
    ids, said = set(), ""
    for text in ("hunter2-canary", "other"):
        try:
            raise ValueError(text)
        except ValueError as error:
            said += "".join(reported(error))
            ids.add(mapped(error).context["id"])
    assert "hunter2-canary" not in said
    assert "Traceback" not in said
    assert "ValueError" in said
    assert len(ids) == 1


def test_a_statement_of_ours_is_in_no_error(reported):
    """What the database says is shown, never the statement and the values in it."""
    error = sa.exc.IntegrityError("INSERT INTO x", {"a": "hunter2-canary"}, ValueError("UNIQUE constraint failed"))
    said = "".join(reported(error))
    assert "UNIQUE constraint failed" in said
    assert "hunter2-canary" not in said
    assert "INSERT" not in said


def test_a_traceback_is_shown_when_asked_for(reported):
    """``--debug`` shows where it happened, above the error."""
    reported.session.debug = True
    try:
        raise ValueError("boom")
    except ValueError as error:
        said = reported(error)[1]
    assert said.startswith("Traceback (most recent call last):")


def test_hostile_text_in_an_error_is_harmless(reported):
    """Names that people chose stand in messages; nothing in them acts on the terminal, in JSON neither."""
    reported.session.output = "json"
    out, err = reported(_error(message=f"no workflow {HOSTILE}"))
    for text in (out, err):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert json.loads(out)["error"]["message"] == f"no workflow {HOSTILE}"


def test_a_remedy_can_be_typed_as_it_stands(reported, tmp_path):
    """The command a remedy quotes names the home that was given, once."""
    session = reported.session
    session.home_option = tmp_path
    _, err = reported(MandamusError(Code.CONFLICT, "m", remedy=f"`mandamus init` or `{session.command('doctor')}`"))
    remedy = err.splitlines()[1]
    assert remedy == f"remedy: `mandamus --home {tmp_path} init` or `mandamus --home {tmp_path} doctor`"
