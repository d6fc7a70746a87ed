"""``mandamus plan``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mandamus.cli import changes, outcome, project
from mandamus.cli.follow import interruptible, see_through
from mandamus.cli.render import document, line
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel import changeset
from mandamus.kernel.errors import Exit
from mandamus.runs.model import Request

if TYPE_CHECKING:
    from mandamus.cli.house import House
    from mandamus.runs.service import RunView


@click.command("plan")
@project.asking
@common
@pass_session
def command(
    session: Session,
    workflow: str,
    environment: str,
    pairs: tuple[str, ...],
    file: Path | None,
    reason: str,
    folder: Path | None,
) -> Exit:
    """Show what a workflow would change; never apply it.

    Plans every step whose inputs are known without applying another, judges it by policy, and shows each object with
    its attributes before and after, the destructive ones first.

    \b
    Example:
      mandamus plan storage-bucket --env dev -i name=ledger
    """  # noqa: D301 - \b keeps click from joining the lines
    root, path = project.asked_for(session, workflow, folder)
    inputs = project.inputs(pairs, file)
    request = Request(workflow=path, environment=environment, inputs=inputs, reason=reason, plan_only=True)
    with session.house() as house, interruptible(session, house) as interrupt:
        run = house.runs.request(house.who, root, request)
        session.screen.say(f"{run.id} plans {run.workflow} in {run.environment}")
        return see_through(session, house, interrupt, run.id, tell=_tell, more=_changes)


def _tell(session: Session, house: House, view: RunView) -> None:
    for row in view.steps:
        found = house.runs.change_set(house.who, view.run.id, row.name)
        if found:
            changes.show(session.screen, row.name, changeset.from_json(found))
            session.screen.data()
    for row in view.steps:
        for requirement in row.requires:
            whom = requirement.group or "the other users"
            why = line(requirement.why)
            session.screen.say(f"step {row.name} would wait for {requirement.count} of {whom}: {why}")
        if row.outputs:
            session.screen.data(f"{row.name} outputs {document(row.outputs)}")
    outcome.told(session, house, view)


def _changes(house: House, view: RunView) -> dict[str, object]:
    found = {row.name: house.runs.change_set(house.who, view.run.id, row.name) for row in view.steps}
    return {"changes": {name: made for name, made in found.items() if made}}
