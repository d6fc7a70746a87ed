"""``mandamus login-link``"""

from __future__ import annotations

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit

URL = "http://127.0.0.1:8400"


@click.command("login-link")
@click.argument("user", required=False)
@click.option("--url", metavar="URL", default=URL, show_default=True, help="Where `mandamus up` answers.")
@common
@pass_session
def command(session: Session, user: str | None, url: str) -> Exit:
    """Make a link that signs you in to the console once.

    The owner of the home may make one for another USER. Whoever comes in by it is recorded as unverified, and may
    approve nothing on a protected environment: the owner could have used the link as well.

    \b
    Example:
      mandamus login-link grace
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        link = f"{url.rstrip('/')}/sign-in?link={house.sessions.link(house.who, user)}"
    if session.wants_json:
        session.screen.json({"url": link})
    else:
        session.screen.data(link)
        session.screen.say("it is good once, for 10 minutes")
    return Exit.OK
