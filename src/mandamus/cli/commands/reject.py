"""``mandamus reject``"""

from __future__ import annotations

import click

from mandamus.cli.follow import interruptible, see_through
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel import ids
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RunState


@click.command("reject")
@click.argument("run")
@click.option("--step", metavar="NAME", help="The step, when several wait.")
@click.option("--reason", default="", help="Why; recorded, signed and shown to whoever asked.")
@click.option("--group", metavar="NAME", help="The group to speak for, when you are in several that are asked.")
@common
@pass_session
def command(session: Session, run: str, step: str | None, reason: str, group: str | None) -> Exit:
    """Say no to what a run waits with.

    One no ends the step; nothing of it is applied.

    \b
    Example:
      mandamus --as grace reject RUN --reason "wrong region"
    """  # noqa: D301 - \b keeps click from joining the lines
    run_id = RunId(ids.parse("run", run))
    with session.house() as house, interruptible(session, house) as interrupt:
        made = house.runs.reject(house.who, run_id, step=step, reason=reason, group=group)
        session.screen.say(f"{made.by} said no to step {made.step}, bound to {made.binding}")
        return see_through(session, house, interrupt, run_id, fine=frozenset({RunState.REJECTED}))
