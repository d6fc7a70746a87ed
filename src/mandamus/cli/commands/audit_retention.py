"""``mandamus audit retention``"""

from __future__ import annotations

import click

from mandamus.audit.retention import DEFAULT, RetentionClass
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit

_DAY_S = 86_400


@click.command("retention")
@common
@pass_session
def command(session: Session) -> Exit:
    """Show how long which events are kept, as platform files declared it.

    \b
    Example:
      mandamus audit retention
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.retention.classes(house.who)
    if session.wants_json:
        session.screen.json([vars(each) for each in found])
        return Exit.OK
    rows = [(each.name, _days(each.at_least_s), _days(each.at_most_s), _covers(each)) for each in found]
    session.screen.table(("CLASS", "AT LEAST", "AT MOST", "COVERS"), rows)
    return Exit.OK


def _days(seconds: int) -> str:
    return f"{seconds // _DAY_S} days" if seconds else "-"


def _covers(each: RetentionClass) -> str:
    parts = (("kinds", each.kinds), ("projects", each.projects), ("environments", each.environments))
    named = "; ".join(f"{what} {', '.join(names)}" for what, names in parts if names)
    return "what no other class covers" if each.name == DEFAULT else named
