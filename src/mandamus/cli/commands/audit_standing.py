"""``mandamus audit standing``"""

from __future__ import annotations

import click

from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.command("standing")
@common
@pass_session
def command(session: Session) -> Exit:
    """Say how the log stands: its newest checkpoint, what waits for the next, and who else has seen how much.

    It is what the home itself knows; `mandamus audit verify` recomputes it.

    \b
    Example:
      mandamus audit standing
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.audit.search.standing(house.who)
    if session.wants_json:
        session.screen.json(found.to_json())
        return Exit.OK
    screen = session.screen
    signed = f"{found.size} leaves, signed {stamp(found.signed_us)}" if found.size else "none yet"
    screen.data(f"checkpoint {signed}")
    screen.data(f"waiting    {found.waiting}")
    for what, seen in (("witness", found.witnesses), ("anchor", found.anchors)):
        for each in seen:
            screen.data(f"{what:<10} {each.name} has {each.size} leaves, {stamp(each.at_us)}")
    return Exit.OK
