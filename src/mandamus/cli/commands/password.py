"""``mandamus password``"""

from __future__ import annotations

import sys

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit

LENGTH_MAX = 4_096


@click.group("password")
@common
def command() -> None:
    """Set or remove the owner's own password for the console.

    \b
    Example:
      mandamus password set
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("set")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input.")
@common
@pass_session
def set_(session: Session, from_stdin: bool) -> Exit:  # noqa: FBT001 - click's flag
    """Let the owner of the home sign in to the console by a password.

    It is for the first days, before people sign in by your identity provider; without one, the owner comes in by
    `mandamus login-link`. At least 15 characters. It is never a word of the command line, where others could read it.

    \b
    Example:
      mandamus password set --stdin < password.txt
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        passwords = house.passwords
        if from_stdin:
            password = sys.stdin.read(LENGTH_MAX).removesuffix("\n").removesuffix("\r")
        else:
            password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
        passwords.set(house.who, password)
    if session.wants_json:
        session.screen.json({"password": "set"})
    else:
        session.screen.say("the owner may sign in by it; whoever had by the one before is signed out")
    return Exit.OK


@command.command("remove")
@common
@pass_session
def remove(session: Session) -> Exit:
    """Let nobody sign in by a password any more; whoever had is signed out.

    \b
    Example:
      mandamus password remove
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        gone = house.passwords.remove(house.who)
    if session.wants_json:
        session.screen.json({"password": "removed" if gone else "none"})
    else:
        session.screen.say("there is no password any more" if gone else "there was no password")
    return Exit.OK
