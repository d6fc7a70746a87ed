"""``mandamus approve``"""

from __future__ import annotations

import click

from mandamus.cli.follow import interruptible, see_through
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel import ids
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import RunId


@click.command("approve")
@click.argument("run")
@click.option("--step", metavar="NAME", help="The step, when several wait.")
@click.option("--reason", default="", help="Why; recorded and signed.")
@click.option("--group", metavar="NAME", help="The group to count for, when you are in several that are asked.")
@common
@pass_session
def command(session: Session, run: str, step: str | None, reason: str, group: str | None) -> Exit:
    """Say yes to exactly what a run waits with.

    The yes is bound to the digest of the plan, its inputs, its source and its target; when any of them moves, it is
    void. Nobody approves what they made. The run goes on at once when nobody else is asked.

    \b
    Example:
      mandamus --as grace approve RUN --reason "private, named as agreed"
    """  # noqa: D301 - \b keeps click from joining the lines
    run_id = RunId(ids.parse("run", run))
    with session.house() as house, interruptible(session, house) as interrupt:
        made = house.runs.approve(house.who, run_id, step=step, reason=reason, group=group)
        session.screen.say(f"{made.by} said yes to step {made.step}, bound to {made.binding}")
        return see_through(session, house, interrupt, run_id)
