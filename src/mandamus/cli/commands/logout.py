"""``mandamus logout``"""

from __future__ import annotations

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError

_SAID = {
    "ended": "the token that was kept for it is no good any more",
    "none": "no token was kept for it",
}


@click.command("logout")
@common
@pass_session
def command(session: Session) -> Exit:
    """Sign out of a server, and end the token that was kept for it.

    The token goes from this machine first, and then is ended on the server.

    \b
    Example:
      mandamus logout --server https://mandamus.example.com
    """  # noqa: D301 - \b keeps click from joining the lines
    if session.server is None:
        raise MandamusError(
            Code.USAGE, "which server to sign out of is not said", remedy="give --server URL, or set MANDAMUS_SERVER"
        )
    found = session.handed.logout(session.server)
    if session.wants_json:
        session.screen.json(dict(found))
    else:
        session.screen.say(f"{found['server']}: {_SAID[found['token']]}")
    return Exit.OK
