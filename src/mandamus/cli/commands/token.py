"""``mandamus token``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mandamus.cli.commands import token_exchange
from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.identity.model import DAYS, DAYS_MAX
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Exit

if TYPE_CHECKING:
    from mandamus.identity.model import Token


@click.group("token")
@common
def command() -> None:
    """Make, exchange, list and end access tokens.

    \b
    Example:
      mandamus token create "deploys of the ledger" --only run:request --only run:read
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("create")
@click.argument("name")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=DAYS, show_default=True, help="How long it lives.")
@click.option(
    "--only", metavar="PERMISSION", multiple=True, type=click.Choice(sorted(each.value for each in Permission)),
    help="Only this permission, such as run:read; as often as needed. Else all that you have.",
)  # fmt: skip
@click.option(
    "--account",
    metavar="NAME",
    help="Of this service account, which you own; or of this agent, which then acts for you.",
)
@click.option(
    "--project", "projects", metavar="PROJECT", multiple=True, help="In this project only; as often as needed."
)
@common
@pass_session
def create(
    session: Session, name: str, days: int, only: tuple[str, ...], account: str | None, projects: tuple[str, ...]
) -> Exit:
    """Make a token for a program of yours; it is shown this once.

    NAME says what it is for. Whatever the program does with it, you did.

    \b
    Example:
      mandamus token create ci --days 7 --only run:request --only run:read
    """  # noqa: D301 - \b keeps click from joining the lines
    allowed = frozenset(map(Permission, only)) if only else None
    with session.house() as house:
        made = house.tokens.create(
            house.who, name, days=days, permissions=allowed, account=account, projects=projects or None
        )
    if session.wants_json:
        session.screen.json({**_json(made.token), "secret": made.secret})
        return Exit.OK
    session.screen.data(made.secret)
    session.screen.say(f"{made.token.id}, until {stamp(made.token.expires_us)}; it is shown this once")
    return Exit.OK


command.add_command(token_exchange.command)


@command.command("list")
@common
@pass_session
def list_(session: Session) -> Exit:
    """List your tokens, newest first; everybody's if you own the home.

    \b
    Example:
      mandamus token list
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.tokens.list(house.who)
    if session.wants_json:
        session.screen.json([_json(each) for each in found])
        return Exit.OK
    if not found:
        session.screen.say(f"there are no tokens; make one: {session.command('token', 'create', 'NAME')}")
        return Exit.OK
    rows = [
        (each.id, each.user, each.name, stamp(each.expires_us), _when(each.used_us), _when(each.revoked_us))
        for each in found
    ]
    session.screen.table(("TOKEN", "OF", "FOR", "UNTIL", "LAST USED", "ENDED"), rows)
    return Exit.OK


@command.command("revoke")
@click.argument("token")
@common
@pass_session
def revoke(session: Session, token: str) -> Exit:
    """End a token at once.

    \b
    Example:
      mandamus token revoke tok_06f3...
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        ended = house.tokens.revoke(house.who, token)
    if session.wants_json:
        session.screen.json(_json(ended))
    else:
        session.screen.say(f"{ended.id} ({ended.name}) is no good any more")
    return Exit.OK


def _when(at_us: int | None) -> str:
    return "-" if at_us is None else stamp(at_us)


def _json(token: Token) -> dict[str, Any]:
    allowed = token.permissions
    return {**vars(token), "permissions": None if allowed is None else sorted(each.value for each in allowed)}
