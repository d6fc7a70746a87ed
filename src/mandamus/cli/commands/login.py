"""``mandamus login``"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, Exit, MandamusError

if TYPE_CHECKING:
    from mandamus.wire.device import DeviceCode

LENGTH_MAX = 4_096


@click.command("login")
@click.option("--token-stdin", is_flag=True, help="Read a token from standard input instead of asking for one.")
@click.option(
    "--only", metavar="PERMISSION", multiple=True, type=click.Choice(sorted(each.value for each in Permission)),
    help="Ask for only this permission, such as run:read; as often as needed. Else for all that you have.",
)  # fmt: skip
@common
@pass_session
def command(session: Session, token_stdin: bool, only: tuple[str, ...]) -> Exit:  # noqa: FBT001 - click's flag
    """Sign in to a server to work on.

    It shows a code. You type that in the console of the server, where you are signed in, and let this machine in for
    8 hours. With --token-stdin it keeps a token that you have, made by `mandamus token create` or in the console.

    The server is asked whose token it is. It is kept in a file that only you can read, in mandamus/tokens.json in your
    folder for configuration, until `mandamus logout`.

    \b
    Example:
      mandamus login --server https://mandamus.example.com
    """  # noqa: D301 - \b keeps click from joining the lines
    if session.server is None:
        raise MandamusError(
            Code.USAGE, "which server the token is for is not said", remedy="give --server URL, or set MANDAMUS_SERVER"
        )
    if token_stdin and only:
        raise MandamusError(
            Code.USAGE, "--only is for a token that is asked for, and you give one", remedy="leave out one of the two"
        )

    def show(asked: DeviceCode) -> None:
        session.screen.say(f"open {asked.verification_uri} and type the code {asked.user_code}")
        session.screen.say(f"waiting; the code is good for {asked.expires_in // 60} minutes")

    if token_stdin:
        found = session.handed.login(session.server, sys.stdin.read(LENGTH_MAX))
    else:
        found = session.handed.device_login(session.server, only, show)
    if session.wants_json:
        session.screen.json(dict(found))
        return Exit.OK
    session.screen.data(f"{found['user']} at {found['server']}")
    session.screen.say(f"the token is kept in {found['file']}")
    return Exit.OK
