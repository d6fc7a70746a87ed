"""``mandamus audit erase``"""

from __future__ import annotations

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.command("erase")
@click.argument("subject", metavar="USER")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded.")
@common
@pass_session
def command(session: Session, subject: str, reason: str) -> Exit:
    """Erase name, e-mail and network addresses of a user.

    The log keeps its leaves and every proof stays valid; nobody can find out any more whose name or which address a
    commitment is of. The user name stays. A hold on the user, or on a run or a project the user took part in, forbids
    it, and so does a retention class that says how long events of theirs must be kept.

    \b
    Example:
      mandamus audit erase ada --reason "asked for it, ticket 4711"
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        erased = house.personal_data.erase(house.who, subject, reason)
    if session.wants_json:
        session.screen.json({"subject": subject, **vars(erased)})
        return Exit.OK
    session.screen.data(f"{subject}: {erased.names} names and {erased.addresses} addresses of events erased")
    session.screen.say(
        "backups of `people/` hold the key until they expire; take the name out of platform.yaml as well"
    )
    return Exit.OK
