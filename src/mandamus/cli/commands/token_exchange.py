"""``mandamus token exchange``"""

from __future__ import annotations

import re
import sys

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError

LENGTH_MAX = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@click.command("exchange")
@click.option("--token-env", metavar="NAME", help="The variable that holds the token of this job; else standard input.")
@common
@pass_session
def command(session: Session, token_env: str | None) -> Exit:
    """Exchange the token that a CI system signed for this job for a short one of the server.

    The token is never a word of the command line, where others could read it. What comes back is good for minutes, for
    what `exchange` in the platform file says. Give it to later commands as MANDAMUS_TOKEN.

    \b
    Example:
      MANDAMUS_TOKEN=$(mandamus token exchange --server https://mandamus.example.com --token-env ID_TOKEN)
    """  # noqa: D301 - \b keeps click from joining the lines
    if session.server is None:
        raise MandamusError(
            Code.USAGE, "which server is to take the token is not said", remedy="give --server URL, or MANDAMUS_SERVER"
        )
    if token_env is None:
        token = sys.stdin.read(LENGTH_MAX).strip()
    elif _VARIABLE.fullmatch(token_env) is None:
        # Not said back: it may be the token itself.
        raise MandamusError(
            Code.USAGE, "--token-env takes the name of a variable, not a token", remedy="name it, as in ID_TOKEN"
        )
    else:
        token = session.environ.get(token_env, "").strip()
    if not token:
        where = f"the variable {token_env}" if token_env else "standard input"
        raise MandamusError(
            Code.USAGE,
            f"{where} holds no token",
            remedy="have the CI system give the job one, see docs/how-to/run-in-ci.md",
        )
    found = session.handed.exchange(session.server, token)
    if session.wants_json:
        session.screen.json(dict(found))
    else:
        session.screen.data(found["access_token"])
        session.screen.say(f"good for {int(found['expires_in']) // 60} minutes, for {found['scope']}")
    return Exit.OK
