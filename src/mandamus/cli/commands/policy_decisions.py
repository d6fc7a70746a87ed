"""``mandamus policy decisions``"""

from __future__ import annotations

from typing import Any

import click

from mandamus.cli.render import brief, stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.cli.verdict import painted
from mandamus.kernel import ids
from mandamus.kernel.clock import moment_us
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import DecisionId, RunId
from mandamus.policy.model import Outcome, Point, Wanted

PAGE = 20
PAGE_MAX = 1000


@click.command("decisions")
@click.option("--env", metavar="NAME", help="Only decisions of this environment.")
@click.option("--point", type=click.Choice([point.value for point in Point]), help="Only decisions at this point.")
@click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="Only decisions that came out so.")
@click.option("--run", metavar="RUN", help="Only decisions of this run.")
@click.option("--since", metavar="TIME", help="Only decisions made since then: 2027-01-31, or 2027-01-31T18:00:00Z.")
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=PAGE, show_default=True, help="How many to show.")
@click.option("--before", metavar="DECISION", help="Only decisions older than this one: the next page.")
@common
@pass_session
def command(session: Session, /, *, limit: int, before: str | None, **filters: str | None) -> Exit:
    """List the recorded decisions, newest first.

    \b
    Example:
      mandamus policy decisions --env prod --outcome deny
    """  # noqa: D301 - \b keeps click from joining the lines
    last = None if before is None else DecisionId(ids.parse("dec", before))
    with session.house() as house:
        found = house.policy.page(house.who, _wanted(**filters), before=last, limit=limit + 1)
    page, more = found[:limit], len(found) > limit
    if session.wants_json:
        listed: dict[str, Any] = {"decisions": [each.to_json() for each in page]}
        session.screen.json({**listed, "before": page[-1].id if more else None})
        return Exit.OK
    if not page:
        session.screen.say("no such decision is recorded")
        return Exit.OK
    rows = [
        (
            each.id,
            stamp(each.at_us),
            each.point.value,
            painted(each.outcome),
            each.environment or "-",
            each.run or "-",
            each.step or "-",
            brief(each.error or "; ".join(each.says) or "-"),
        )
        for each in page
    ]
    session.screen.table(("DECISION", "AT", "POINT", "OUTCOME", "ENVIRONMENT", "RUN", "STEP", "SAYS"), rows)
    if more:
        chosen = [word for name, value in filters.items() if value for word in (f"--{name}", value)]
        words = ("policy", "decisions", *chosen, "--limit", str(limit), "--before", page[-1].id)
        session.screen.say(f"next page: {session.command(*words)}")
    return Exit.OK


def _wanted(env: str | None, point: str | None, outcome: str | None, run: str | None, since: str | None) -> Wanted:
    return Wanted(
        environment=env,
        point=Point(point) if point else None,
        outcome=Outcome(outcome) if outcome else None,
        run=RunId(ids.parse("run", run)) if run else None,
        since_us=moment_us(since) if since else None,
    )
