"""The one mapping from errors to the command line: four parts on standard error, and an exit code."""

from __future__ import annotations

import errno
import hashlib
import shlex
import traceback
from collections.abc import Mapping
from typing import Any

import click

from mandamus.cli.render import Painted, first_line, line, safe
from mandamus.cli.session import PROGRAM, Session
from mandamus.kernel.errors import Code, MandamusError


def report(session: Session, error: BaseException) -> int:
    """Tell what went wrong; gives the exit code.

    People read code, message and remedy on standard error; with ``--output json`` the last line of standard output
    is ``{"error": {code, message, remedy, context, retryable}}``.
    """
    known = mapped(error)
    if session.debug:
        session.screen.say(safe("".join(traceback.format_exception(error)).rstrip()))
    message = known.message if not _listed(known) else f"{_count(known)}\n{known.message}"
    session.screen.say(Painted(f"error[{known.code.text}]", "red"), f": {message}")
    session.screen.say(Painted("remedy", "bold"), f": {session.here(line(known.remedy))}")
    if session.wants_json:
        session.screen.json({"error": known.to_json()})
    return int(known.code.exit)


def mapped(error: BaseException) -> MandamusError:
    """Any exception as one of ours."""
    match error:
        case MandamusError():
            return error
        case click.UsageError():
            return _usage(error)
        case click.ClickException():
            return MandamusError(Code.USAGE, error.format_message(), remedy=f"see `{PROGRAM} --help`")
        case OSError(errno=int(), strerror=str()):
            return _machine(error)
        case _ if isinstance(getattr(error, "orig", None), Exception):
            return _database(error)
        case _:
            return _unexpected(error)


def _listed(error: MandamusError) -> bool:
    return "problems" in error.context


def _count(error: MandamusError) -> str:
    problems: Any = error.context["problems"]
    return f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"


def _usage(error: click.UsageError) -> MandamusError:
    command = error.ctx.command_path if error.ctx is not None else PROGRAM
    context: Mapping[str, object] = {"command": command}
    return MandamusError(Code.USAGE, error.format_message(), remedy=f"see `{command} --help`", context=context)


def _machine(error: OSError) -> MandamusError:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MandamusError(
            Code.STORAGE_FULL,
            f"no space left{where and ' for'}{where}",
            remedy="free space, then try again",
            retryable=True,
        )
    return MandamusError(
        Code.UNAVAILABLE,
        f"the system refused{where}: {error.strerror}",
        remedy=f"check that {shlex.quote(str(error.filename))} is there and yours"
        if where
        else "try again with --debug",
        context={"errno": errno.errorcode.get(error.errno or 0, "")},
    )


def _database(error: Any) -> MandamusError:
    """SQLAlchemy's error around a driver's, known by its shape: importing it would slow down every command.

    Only the driver's own words are shown; SQLAlchemy's text has the statement and its values in it.
    """
    return MandamusError(
        Code.HOME_INVALID,
        f"the database cannot be used: {first_line(error.orig) or type(error.orig).__name__}",
        remedy="`mandamus doctor` looks at it; restore the home from a backup when it is damaged",
    )


def _unexpected(error: BaseException) -> MandamusError:
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    # The same fault has the same id wherever it happens, so that reports of it can be told from others.
    name = hashlib.sha256("\n".join([type(error).__name__, *frames]).encode()).hexdigest()[:8]
    return MandamusError(
        Code.INTERNAL,
        f"a fault of ours: {type(error).__name__} (id {name})",
        remedy="run the same again with --debug to see where, and report it with this id",
        context={"id": name},
    )
