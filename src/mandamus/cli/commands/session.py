"""``mandamus session``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError

if TYPE_CHECKING:
    from mandamus.identity.model import Session as Kept


@click.group("session")
@common
def command() -> None:
    """List and end sessions in browsers, or all that lets somebody in.

    \b
    Example:
      mandamus session list
      mandamus session end --user grace --all
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("list")
@click.option("--user", metavar="USER", help="Sessions of this user; for whoever may change identities.")
@click.option("--all", "everybody", is_flag=True, help="Everybody's sessions; for whoever may change identities.")
@common
@pass_session
def list_(session: Session, user: str | None, everybody: bool) -> Exit:  # noqa: FBT001 - click's flag, handed on
    """List your sessions that have not ended, newest first.

    \b
    Example:
      mandamus session list --all
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.kill_switch.sessions(house.who, user=user, everybody=everybody)
    if session.wants_json:
        session.screen.json([vars(each) for each in found])
        return Exit.OK
    if not found:
        session.screen.say(f"nobody is signed in; sign in with {session.command('login-link')}")
        return Exit.OK
    session.screen.table(("SESSION", "OF", "BY", "SINCE", "LAST SEEN"), [_row(each) for each in found])
    return Exit.OK


@command.command("end")
@click.argument("session_id", metavar="[SESSION]", required=False)
@click.option("--user", metavar="USER", help="With --all: of this user instead of you.")
@click.option("--all", "everything", is_flag=True, help="All that lets them in: sessions, tokens and links.")
@common
@pass_session
def end(
    session: Session,
    session_id: str | None,
    user: str | None,
    everything: bool,  # noqa: FBT001 - click's flag, handed on
) -> Exit:
    """End a session at once, or with --all everything somebody comes in with.

    It takes effect with the next request; pages and streams that are open end within 20 seconds.

    \b
    Example:
      mandamus session end ses_06f3...
      mandamus session end --user grace --all
    """  # noqa: D301 - \b keeps click from joining the lines
    if (session_id is None) != everything or (user is not None and not everything):
        raise MandamusError(
            Code.USAGE,
            "name one session, or say --all",
            remedy="`mandamus session list` shows their ids; --user USER --all ends everything of somebody",
        )
    with session.house() as house:
        if session_id is not None:
            one = house.kill_switch.end(house.who, session_id)
            said, data = f"{one.id} of {one.user} has ended", vars(one)
        else:
            switch = house.kill_switch
            ended = switch.end_own(house.who) if user is None else switch.end_all(house.who, user)
            counts = f"{ended.sessions} sessions, {ended.tokens} tokens and {ended.links} links"
            said, data = f"{counts} of {ended.user} have ended", vars(ended)
    if session.wants_json:
        session.screen.json(data)
    else:
        session.screen.say(said)
    return Exit.OK


def _row(each: Kept) -> tuple[str, ...]:
    return each.id, each.user, each.authn, stamp(each.opened_us), stamp(each.seen_us)
