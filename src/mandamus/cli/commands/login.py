"""``mandamus login``"""

from __future__ import annotations

import sys

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError

LENGTH_MAX = 4_096


@click.command("login")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@common
@pass_session
def command(session: Session, token_stdin: bool) -> Exit:  # noqa: FBT001 - click's flag
    """Keep a token for a server to work on.

    The server is asked whose token it is first. It is kept in a file that only you can read, in mandamus/tokens.json in
    your folder for configuration. A token is made by `mandamus token create`, where the home is or in the console.

    \b
    Example:
      mandamus login --server https://mandamus.example.com --token-stdin < token.txt
    """  # noqa: D301 - \b keeps click from joining the lines
    if session.server is None:
        raise MandamusError(
            Code.USAGE, "which server the token is for is not said", remedy="give --server URL, or set MANDAMUS_SERVER"
        )
    if not token_stdin:
        raise MandamusError(
            Code.USAGE,
            "there is no token: it is never a word of the command line, where others could read it",
            remedy="give it on standard input, as in `mandamus login --token-stdin < FILE`",
        )
    found = session.handed.login(session.server, sys.stdin.read(LENGTH_MAX))
    if session.wants_json:
        session.screen.json(dict(found))
        return Exit.OK
    session.screen.data(f"{found['user']} at {found['server']}")
    session.screen.say(f"the token is kept in {found['file']}")
    return Exit.OK
