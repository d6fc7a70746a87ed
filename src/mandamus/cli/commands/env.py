"""``mandamus env``"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from mandamus.cli.render import Painted, document, stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.attachment import Attached
from mandamus.kernel.errors import Exit
from mandamus.policy.backtest_model import FLIPS, Report


@click.group("env")
@common
def command() -> None:
    """Declare and show environments, users and groups.

    \b
    Example:
      mandamus env apply platform.yaml
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("apply")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--backtest", is_flag=True, help="Try changed policy sets of protected environments on the past first.")
@common
@pass_session
def apply(session: Session, file: Path, backtest: bool) -> Exit:  # noqa: FBT001 - click's signature
    """Declare what a platform file says, all of it or nothing.

    Users, groups and environments named in FILE become exactly this, others stay. Policy folders are checked and
    published by digest. Whoever applies it is a maker: they approve nothing that is judged by it.

    A policy set that changes in a protected environment has to be tried on the decisions made there:
    `mandamus policy backtest`, or --backtest.

    \b
    Example:
      mandamus env apply platform.yaml
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house(create=True) as house:
        made = house.configure.apply(house.who, file, tried=partial(_tried, session) if backtest else None)
    if session.wants_json:
        session.screen.json(made.to_json())
        return Exit.OK
    for what, names in (("user", made.users), ("group", made.groups)):
        if names:
            session.screen.data(f"{what}{'' if len(names) == 1 else 's'}: {', '.join(names)}")
    for each in made.environments:
        session.screen.data(f"environment {each.name}: {each.digest}")
        for attached in each.policies:
            session.screen.data(f"  {_attached(attached)}")
    for project in made.projects:
        session.screen.data(f"project {project.name}: {project.root}")
        for attached in project.policies:
            session.screen.data(f"  {_attached(attached)}")
    for warning in made.warnings:
        session.screen.say(Painted("warning", "yellow"), f": {warning}")
    session.screen.say(f"next: {session.command('run')} WORKFLOW --env NAME")
    return Exit.OK


@command.command("list")
@common
@pass_session
def list_(session: Session) -> Exit:
    """List the environments.

    \b
    Example:
      mandamus env list
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.catalog.environments(house.who)
    if session.wants_json:
        session.screen.json(
            [{**each.to_json(), "digest": each.digest, "applied_by": each.applied_by} for each in found]
        )
        return Exit.OK
    if not found:
        session.screen.say(
            f"there are no environments yet; declare one: {session.command('env', 'apply', 'platform.yaml')}"
        )
        return Exit.OK
    rows = [
        (each.name, "yes" if each.protected else "no", str(len(each.policies)), each.pool.sandbox, each.applied_by)
        for each in found
    ]
    session.screen.table(("NAME", "PROTECTED", "POLICY SETS", "SANDBOX", "APPLIED BY"), rows)
    return Exit.OK


@command.command("show")
@click.argument("name")
@common
@pass_session
def show(session: Session, name: str) -> Exit:
    """Show one environment: variables, names of secrets, policy sets, approvers, pool, and who holds its states.

    \b
    Example:
      mandamus env show prod
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found, locks = house.catalog.show_environment(house.who, name), house.runs.locks(house.who, name)
    if session.wants_json:
        told = {"digest": found.digest, "applied_by": found.applied_by, "locks": [each.to_json() for each in locks]}
        session.screen.json({**found.to_json(), **told})
        return Exit.OK
    screen = session.screen
    network = ", network" if found.pool.network else ""
    private = f", may reach {', '.join(found.pool.allow_private)}" if found.pool.allow_private else ""
    screen.data(Painted(found.name, "bold"), "  protected" if found.protected else "")
    screen.data(f"digest     {found.digest}")
    screen.data(f"applied by {found.applied_by}")
    screen.data(f"pool       sandbox {found.pool.sandbox}{network}{private}")
    screen.data(f"approvals  expire after {found.approval_ttl_s}s")
    for group, count in found.approvers.items():
        screen.data(f"approvers  {count} of {group}")
    for attached in found.policies:
        screen.data(_attached(attached))
    for variable, value in found.vars.items():
        screen.data(f"variable   {variable} = {document(value)}")
    for secret, ref in found.secrets.items():
        screen.data(f"secret     {secret} from {document(ref.to_json())}")
    for held in locks:
        screen.data(
            f"lock       {held.name} held by step {held.by.step} of {held.by.run} since {stamp(held.by.since_us)}"
        )
    return Exit.OK


def _tried(session: Session, report: Report) -> None:
    """One line of talk for a back-test made on the way."""
    flips = ", ".join(f"{report.counts[kind]} {kind.value}" for kind in FLIPS)
    session.screen.say(f"policy set {report.base.name}: {report.decisions} decisions replayed, {flips}")


def _attached(attached: Attached) -> str:
    owners = ", ".join(f"{count} of {group}" for group, count in attached.override.items())
    overridden = f", overridden by {owners}" if owners else ""
    return f"policy set {attached.name} {attached.set} ({attached.level}{overridden})"
