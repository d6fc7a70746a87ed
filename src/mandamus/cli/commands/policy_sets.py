"""``mandamus policy sets``"""

from __future__ import annotations

import click

from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.command("sets")
@click.argument("name", required=False)
@common
@pass_session
def command(session: Session, name: str | None) -> Exit:
    """List the published policy sets and their versions.

    With NAME, every version of that set, newest first; else the newest of each.

    \b
    Example:
      mandamus policy sets base
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.policy.versions(house.who, name)
        used = house.catalog.environments(house.who)
    newest = {each.name: each for each in reversed(found)}
    shown = found if name is not None else list(newest.values())
    where = {
        (each.name, each.digest): [
            target.name for target in used if (each.name, each.digest) in {(a.name, a.set) for a in target.policies}
        ]
        for each in shown
    }
    if session.wants_json:
        session.screen.json([{**each.to_json(), "environments": where[each.name, each.digest]} for each in shown])
        return Exit.OK
    if not shown:
        session.screen.say(f"no policy set is published yet; {session.command('env', 'apply', 'platform.yaml')}")
        return Exit.OK
    rows = [
        (
            each.name,
            str(each.version),
            each.digest,
            ", ".join(where[each.name, each.digest]) or "-",
            each.by,
            stamp(each.at_us),
        )
        for each in shown
    ]
    session.screen.table(("NAME", "VERSION", "DIGEST", "ENVIRONMENTS", "BY", "PUBLISHED"), rows)
    return Exit.OK
