"""``mandamus policy exempt``"""

from __future__ import annotations

import click

from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel import ids
from mandamus.kernel.clock import moment_us
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import ExemptionId


@click.group("exempt")
@common
def command() -> None:
    """Let a rule pass for a while; list and end exemptions.

    \b
    Example:
      mandamus policy exempt grant base mandamus.plan.deny --env prod --until 2027-01-31 --reason "vendor fix due"
      mandamus policy exempt list
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("grant")
@click.argument("set_name", metavar="SET")
@click.argument("rule")
@click.option("--env", "environment", required=True, metavar="NAME", help="The environment in which the rule may pass.")
@click.option("--until", required=True, metavar="TIME", help="When it ends: 2027-01-31, or 2027-01-31T18:00:00Z.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded.")
@click.option("--address", default="", metavar="TEXT", help="Only violations that name exactly this address.")
@common
@pass_session
def grant(session: Session, set_name: str, rule: str, environment: str, until: str, reason: str, address: str) -> Exit:
    """Let RULE of the policy set SET pass in one environment until a moment.

    RULE is the full name that a violation shows, such as mandamus.plan.deny. Whoever grants an exemption approves
    nothing in that environment while it counts. It ends by itself.

    \b
    Example:
      mandamus policy exempt grant base mandamus.plan.deny --env prod --until 2027-01-31 --reason "vendor fix due"
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        house.catalog.show_environment(house.who, environment)
        made = house.policy.exemptions.grant(
            house.who, environment, set_name, rule, address=address, why=reason, until_us=moment_us(until)
        )
    if session.wants_json:
        session.screen.json(made.to_json())
        return Exit.OK
    session.screen.data(
        f"{made.id}: {made.rule} of {made.set} may pass in {made.environment} until {stamp(made.until_us)}"
    )
    session.screen.say(f"take it back: {session.command('policy', 'exempt', 'end', made.id)}")
    return Exit.OK


@command.command("list")
@click.option("--env", "environment", metavar="NAME", help="Of this environment only.")
@click.option("--all", "ended", is_flag=True, help="Also those that have ended.")
@common
@pass_session
def list_(session: Session, environment: str | None, ended: bool) -> Exit:  # noqa: FBT001 - click's signature
    """List the exemptions that count now, soonest to end first.

    \b
    Example:
      mandamus policy exempt list --env prod
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.policy.exemptions.all(house.who, environment, ended=ended)
    if session.wants_json:
        session.screen.json([each.to_json() for each in found])
        return Exit.OK
    if not found:
        session.screen.say("no rule is exempted")
        return Exit.OK
    rows = [
        (e.id, e.environment, e.set, e.rule, e.address or "any", stamp(e.ended_us or e.until_us), e.by, e.why)
        for e in found
    ]
    session.screen.table(("ID", "ENVIRONMENT", "SET", "RULE", "ADDRESS", "UNTIL", "BY", "WHY"), rows)
    return Exit.OK


@command.command("end")
@click.argument("exemption")
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded.")
@common
@pass_session
def end(session: Session, exemption: str, reason: str) -> Exit:
    """Take an exemption back at once.

    \b
    Example:
      mandamus policy exempt end EXEMPTION --reason "mended"
    """  # noqa: D301 - \b keeps click from joining the lines
    id_ = ExemptionId(ids.parse("exm", exemption))
    with session.house() as house:
        ended = house.policy.exemptions.end(house.who, id_, reason)
    if session.wants_json:
        session.screen.json(ended.to_json())
        return Exit.OK
    session.screen.data(f"{ended.id} has ended: {ended.rule} of {ended.set} binds in {ended.environment} again")
    return Exit.OK
