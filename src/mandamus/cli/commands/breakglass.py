"""``mandamus breakglass``"""

from __future__ import annotations

import click

from mandamus.cli.render import first_line, stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError
from mandamus.kernel.reader import duration_s


@click.group("breakglass")
@common
def command() -> None:
    """Let effects begin in an emergency: two people, some hours.

    While the log is in trouble (it lags, witnesses or a required sink are away, the disk is short) nothing is applied.
    Break-glass lets it be, and nothing else: policy and approvals hold as ever. Each use is recorded, and the doctor
    speaks of it until a third person has looked at it.

    \b
    Example:
      mandamus breakglass list
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("open")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded.")
@click.option("--for", "lasts", required=True, metavar="DURATION", help="How long, 4h at most, such as 90m.")
@common
@pass_session
def open_(session: Session, reason: str, lasts: str) -> Exit:
    """Declare an emergency; another person confirms it.

    \b
    Example:
      mandamus breakglass open --for 2h --reason "witnesses are down, the site is too"
    """  # noqa: D301 - \b keeps click from joining the lines
    try:
        lasts_s = duration_s(lasts)
    except ValueError as error:
        raise MandamusError(Code.USAGE, f"--for is {lasts[:40]!r}", remedy=str(error)) from error
    with session.house() as house:
        made = house.break_glass.open(house.who, reason, lasts_s)
    if session.wants_json:
        session.screen.json(made.to_json())
    else:
        session.screen.data(f"{made.id} until {stamp(made.until_us)}")
        session.screen.say(f"another person confirms it: {session.command('breakglass', 'confirm', made.id)}")
    return Exit.OK


@command.command("confirm")
@click.argument("id_", metavar="ID")
@common
@pass_session
def confirm(session: Session, id_: str) -> Exit:
    """Confirm what another person declared; from now on it holds.

    \b
    Example:
      mandamus breakglass confirm brk_06f3q0h5v7xk2m9c4t8w1b6z3e
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        made = house.break_glass.confirm(house.who, id_)
    if session.wants_json:
        session.screen.json(made.to_json())
    else:
        session.screen.say(f"{made.id} holds until {stamp(made.until_us)}; runs that were held up go on by themselves")
    return Exit.OK


@command.command("close")
@click.argument("id_", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="What was found; recorded.")
@common
@pass_session
def close(session: Session, id_: str, reason: str) -> Exit:
    """End it, and the finding that it made; by a third person.

    \b
    Example:
      mandamus breakglass close brk_06f3q0h5v7xk2m9c4t8w1b6z3e --reason "looked at both runs, all in order"
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        made = house.break_glass.close(house.who, id_, reason)
    if session.wants_json:
        session.screen.json(made.to_json())
    else:
        session.screen.say(f"{made.id} is closed")
    return Exit.OK


@command.command("list")
@common
@pass_session
def list_(session: Session) -> Exit:
    """List what was ever declared, and what became of it.

    \b
    Example:
      mandamus breakglass list --output json
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.break_glass.list(house.who)
    if session.wants_json:
        session.screen.json([each.to_json() for each in found])
        return Exit.OK
    rows = [
        (
            each.id,
            each.opened_by,
            each.confirmed_by or "-",
            stamp(each.until_us),
            str(len(each.uses)),
            each.closed_by or ("to be looked at" if each.finding else "-"),
            first_line(each.reason),
        )
        for each in found
    ]
    session.screen.table(("ID", "BY", "CONFIRMED", "UNTIL", "USES", "CLOSED", "REASON"), rows)
    return Exit.OK
