"""``mandamus demo``"""

from __future__ import annotations

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave the home and say where it is.")
@common
@pass_session
def command(session: Session, keep: bool) -> Exit:  # noqa: FBT001 - click's flag
    """Play one governed change from request to proof.

    Everything in it is real: a home, terraform, policy, the sandbox, the audit log, the evidence. A request is denied
    with the rule's file and line, mended, approved by somebody else, applied as it was approved, and proved offline.

    \b
    Example:
      mandamus demo
    """  # noqa: D301 - \b keeps click from joining the lines
    screen = session.screen
    facts = session.handed.demo(screen.say if session.wants_json else screen.data, keep)
    if session.wants_json:
        screen.json(facts)
    else:
        screen.say("\nnext: `mandamus init` starts a project of your own")
    return Exit.OK
