"""``mandamus audit prune``"""

from __future__ import annotations

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.clock import moment_us
from mandamus.kernel.errors import Exit


@click.command("prune")
@click.option("--before", metavar="DATE", help="What is older may go; else what its retention class says.")
@click.option("--dry-run", is_flag=True, help="Only say what would go, and what stops it.")
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded.")
@common
@pass_session
def command(session: Session, before: str | None, dry_run: bool, reason: str) -> Exit:  # noqa: FBT001 - click's signature
    """Take away old entries of the log that need not be kept any longer.

    Whole bundles of 256 entries go, from the oldest on, up to the first entry that a retention class or a hold keeps or
    that a sink has not taken. The log says so first. Hashes and checkpoints stay, so every proof and every evidence
    bundle stays valid.

    \b
    Example:
      mandamus audit prune --before 2027-01-01 --dry-run
    """  # noqa: D301 - \b keeps click from joining the lines
    before_us = None if before is None else moment_us(before)
    with session.house() as house:
        if dry_run:
            plan, gone = house.pruning.plan(house.who, before_us), 0
        else:
            made = house.pruning.prune(house.who, before_us, reason)
            plan, gone = made.plan, made.entries
    if session.wants_json:
        session.screen.json({**vars(plan), "pruned": gone, "dry_run": dry_run})
        return Exit.OK
    count = plan.min_index - plan.first if dry_run else gone
    may = "would be pruned" if dry_run else "are pruned"
    session.screen.data(f"{count} entries {may}; the log keeps entries from {plan.min_index} on")
    if plan.stop:
        session.screen.say(f"no more go: {plan.stop}")
    return Exit.OK
