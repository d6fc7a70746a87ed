"""The command line itself: the table of commands, loaded by name, and the one way out with an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence

import click

from mandamus.cli.errors import report
from mandamus.cli.late import LateGroup, load
from mandamus.cli.session import PROGRAM, Handed, Session, common
from mandamus.kernel.errors import Exit

COMMANDS: Mapping[str, str] = {
    "demo": "mandamus.cli.commands.demo:command",
    "init": "mandamus.cli.commands.init:command",
    "check": "mandamus.cli.commands.check:command",
    "catalog": "mandamus.cli.commands.catalog:command",
    "env": "mandamus.cli.commands.env:command",
    "plan": "mandamus.cli.commands.plan:command",
    "run": "mandamus.cli.commands.run:command",
    "runs": "mandamus.cli.commands.runs:command",
    "policy": "mandamus.cli.commands.policy:command",
    "approve": "mandamus.cli.commands.approve:command",
    "reject": "mandamus.cli.commands.reject:command",
    "up": "mandamus.cli.commands.up:command",
    "login": "mandamus.cli.commands.login:command",
    "logout": "mandamus.cli.commands.logout:command",
    "login-link": "mandamus.cli.commands.login_link:command",
    "token": "mandamus.cli.commands.token:command",
    "session": "mandamus.cli.commands.session:command",
    "access": "mandamus.cli.commands.access:command",
    "password": "mandamus.cli.commands.password:command",
    "audit": "mandamus.cli.commands.audit:command",
    "evidence": "mandamus.cli.commands.evidence:command",
    "breakglass": "mandamus.cli.commands.breakglass:command",
    "notify": "mandamus.cli.commands.notify:command",
    "doctor": "mandamus.cli.commands.doctor:command",
}
"""Every command and where it is; each is loaded when it is called, so that help stays instant."""

SUMMARIES: Mapping[str, str] = {
    "demo": "Play one governed change from request to proof.",
    "init": "Make a home, and a project that runs as it is.",
    "check": "Check workflows; every problem at once.",
    "catalog": "List what projects offer to run, and show one of it.",
    "env": "Declare and show environments, users and groups.",
    "plan": "Show what a workflow would change; never apply it.",
    "run": "Ask for a run of a workflow.",
    "runs": "List, show, watch, cancel, retry and settle runs.",
    "policy": "Write, test, try, publish and explain policy.",
    "approve": "Say yes to exactly what a run waits with.",
    "reject": "Say no to what a run waits with.",
    "up": "Serve this home: console, API, and the engine of its runs.",
    "login": "Sign in to a server to work on.",
    "logout": "Sign out of a server, and end the token that was kept for it.",
    "login-link": "Make a link that signs you in to the console once.",
    "token": "Make, exchange, list and end access tokens.",
    "session": "List and end sessions in browsers, or all that lets somebody in.",
    "access": "Review who may do what, and who may approve what.",
    "password": "Set or remove the owner's own password for the console.",
    "audit": "Verify the audit log.",
    "evidence": "Export and verify the proof of a run.",
    "breakglass": "Let effects begin in an emergency: two people, some hours.",
    "notify": "See who is told of events, and send again what was not taken.",
    "doctor": "Check the home and the machine.",
}
"""What help says of each command without loading it; a test compares it with the command's own first line."""


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        click.echo(f"{PROGRAM} {load('importlib.metadata:version')(PROGRAM)}")
        ctx.exit(0)


@click.group(
    cls=LateGroup,
    table=COMMANDS,
    summaries=SUMMARIES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@common
@click.pass_context
def root(ctx: click.Context) -> None:
    """One governed change at a time: planned, judged, approved, applied as approved, and provable.

    New here? `mandamus demo` plays the whole story in a minute; `mandamus init` starts your own.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 waiting for approval, 4 denied by policy, 5 drift,
    6 indeterminate, 10 tampered, 11 incomplete, 12 untrusted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(handed: Handed, argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code. ``argv`` is without the program's name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    args = list(sys.argv[1:] if argv is None else argv)
    session = Session(handed)
    try:
        code = root.main(args, prog_name=PROGRAM, standalone_mode=False, obj=session)
        sys.stdout.flush()
    except SystemExit as left:
        # Click leaves like this after shell completion and when nobody reads on.
        return int(left.code) if isinstance(left.code, int) else int(Exit.FAILED)
    except BrokenPipeError:
        return _deaf()
    except (click.Abort, KeyboardInterrupt):
        session.screen.say("interrupted")
        return int(Exit.FAILED)
    except click.exceptions.NoArgsIsHelpError as error:
        session.screen.say(error.format_message())
        return int(Exit.USAGE)
    except Exception as error:  # noqa: BLE001 - the one place where every error becomes words and a code
        if "json" in _outputs(args):
            session.output = "json"
        return _reported(session, error)
    return int(code or Exit.OK)


def _reported(session: Session, error: Exception) -> int:
    try:
        return report(session, error)
    except BrokenPipeError:
        return _deaf()


def _outputs(args: Sequence[str]) -> set[str]:
    """What ``--output`` was asked for, also where the command line could not be understood."""
    after = {args[at + 1] for at, word in enumerate(args[:-1]) if word == "--output"}
    return after | {word.partition("=")[2] for word in args if word.startswith("--output=")}


def _deaf() -> int:
    """Nobody reads on: end without a word, also when the interpreter flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(Exit.FAILED)
