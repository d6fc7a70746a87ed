"""The one mapping from errors to the command line: four parts on standard error, and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import click

from mandamus.cli.render import Painted, line, safe
from mandamus.cli.session import PROGRAM, Session
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.trouble import known


def report(session: Session, error: BaseException) -> int:
    """Tell what went wrong; gives the exit code.

    People read code, message and remedy on standard error; with ``--output json`` the last line of standard output
    is ``{"error": {code, message, remedy, context, retryable}}``.
    """
    told = mapped(error)
    if session.debug:
        session.screen.say(safe("".join(traceback.format_exception(error)).rstrip()))
    message = told.message if not _listed(told) else f"{_count(told)}\n{told.message}"
    session.screen.say(Painted(f"error[{told.code.text}]", "red"), f": {message}")
    session.screen.say(Painted("remedy", "bold"), f": {session.here(line(told.remedy))}")
    if session.wants_json:
        session.screen.json({"error": told.to_json()})
    return int(told.code.exit)


def mapped(error: BaseException) -> MandamusError:
    """Any exception as one of ours."""
    match error:
        case MandamusError():
            return error
        case click.UsageError():
            return _usage(error)
        case click.ClickException():
            return MandamusError(Code.USAGE, error.format_message(), remedy=f"see `{PROGRAM} --help`")
        case _:
            return known(error)


def _listed(error: MandamusError) -> bool:
    return "problems" in error.context


def _count(error: MandamusError) -> str:
    problems: Any = error.context["problems"]
    return f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"


def _usage(error: click.UsageError) -> MandamusError:
    command = error.ctx.command_path if error.ctx is not None else PROGRAM
    context: Mapping[str, object] = {"command": command}
    return MandamusError(Code.USAGE, error.format_message(), remedy=f"see `{command} --help`", context=context)
