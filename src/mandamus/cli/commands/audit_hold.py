"""``mandamus audit hold``"""

from __future__ import annotations

import click

from mandamus.cli.render import first_line, stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError


@click.group("hold")
@common
def command() -> None:
    """Keep what is known of people from erasure, and their events from pruning.

    \b
    Example:
      mandamus audit hold list
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("add")
@click.argument("name", metavar="NAME")
@click.option("--subject", metavar="USER", help="Covers what is known of this user.")
@click.option("--run", metavar="RUN", help="Covers what is known of everybody who took part in this run.")
@click.option("--project", metavar="PROJECT", help="Covers what is known of everybody who took part in this project.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded.")
@common
@pass_session
def add(session: Session, name: str, subject: str | None, run: str | None, project: str | None, reason: str) -> Exit:
    """Begin a legal hold.

    \b
    Example:
      mandamus audit hold add case-12 --subject ada --reason "litigation"
    """  # noqa: D301 - \b keeps click from joining the lines
    given = {"subject": subject, "run": run, "project": project}
    covers = [(scope, value) for scope, value in given.items() if value is not None]
    if len(covers) != 1:
        message = "a hold covers a user, a run or a project"
        raise MandamusError(Code.USAGE, message, remedy="give one of --subject, --run and --project")
    scope, value = covers[0]
    with session.house() as house:
        made = house.personal_data.hold(house.who, name, scope, value, reason)
    if session.wants_json:
        session.screen.json(vars(made))
    else:
        session.screen.data(f"{name} holds what is known of {scope} {value}")
    return Exit.OK


@command.command("list")
@common
@pass_session
def list_(session: Session) -> Exit:
    """List the holds.

    \b
    Example:
      mandamus audit hold list
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.personal_data.holds(house.who)
    if session.wants_json:
        session.screen.json([vars(each) for each in found])
        return Exit.OK
    rows = [
        (each.name, f"{each.scope} {each.value}", each.by, stamp(each.at_us), first_line(each.reason)) for each in found
    ]
    session.screen.table(("HOLD", "COVERS", "BY", "SINCE", "REASON"), rows)
    return Exit.OK


@command.command("release")
@click.argument("name", metavar="NAME")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded.")
@common
@pass_session
def release(session: Session, name: str, reason: str) -> Exit:
    """End a legal hold.

    \b
    Example:
      mandamus audit hold release case-12 --reason "settled"
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        house.personal_data.release(house.who, name, reason)
    session.screen.say(f"{name} is released")
    return Exit.OK
