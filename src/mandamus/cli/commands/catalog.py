"""``mandamus catalog``"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mandamus.cli.project import workflow_path
from mandamus.cli.render import Painted, document, first_line
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit

if TYPE_CHECKING:
    from mandamus.catalog.inputs import InputSpec
    from mandamus.catalog.model import Offered
    from mandamus.runs.outlook import Outlook


@click.group("catalog")
@common
def command() -> None:
    """List what projects offer to run, and show one of it.

    \b
    Example:
      mandamus catalog list
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("list")
@click.argument("project", required=False)
@common
@pass_session
def list_(session: Session, project: str | None) -> Exit:
    """List the workflows of a registered project, or of all of them.

    They are read from the projects' folders as they are now; one that cannot run says why.

    \b
    Example:
      mandamus catalog list storage
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        names = [project] if project else [each.name for each in house.catalog.projects(house.who)]
        found = [each for name in names for each in house.catalog.workflows(house.who, name)]
    if session.wants_json:
        session.screen.json([_json(each) for each in found])
        return Exit.OK
    if not found:
        session.screen.say(
            f"no project offers a workflow; name its folder under `projects`, then "
            f"{session.command('env', 'apply', 'platform.yaml')}"
        )
        return Exit.OK
    rows = [
        (each.project, each.file, each.name or "-", str(len(each.steps)), first_line(each.problem or each.description))
        for each in found
    ]
    session.screen.table(("PROJECT", "FILE", "NAME", "STEPS", "WHAT IT DOES"), rows)
    return Exit.OK


@command.command("show")
@click.argument("project")
@click.argument("workflow")
@click.option("--env", "environment", metavar="NAME", help="Say who would be asked about it there, too.")
@common
@pass_session
def show(session: Session, project: str, workflow: str, environment: str | None) -> Exit:
    """Show one workflow: what it takes, and what it does step by step.

    WORKFLOW is its path in the project, or the name of a file in its folder `workflows`. With --env, who would have to
    approve it there, if you asked for it.

    \b
    Example:
      mandamus catalog show storage deploy
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.catalog.show_workflow(house.who, project, workflow_path(workflow))
        asked = house.runs.outlook(house.who, environment, project) if environment is not None else None
    screen = session.screen
    if session.wants_json:
        screen.json({**_json(found), "text": found.text, **({"outlook": _outlook(asked)} if asked else {})})
        return Exit.OK
    screen.data(Painted(found.name or found.file, "bold"), f"  {found.project} {found.file}")
    screen.data(f"digest {found.digest}")
    if found.problem:
        screen.data(found.problem)
        return Exit.FAILED
    if found.description:
        screen.data(found.description)
    for each in found.inputs:
        screen.data(f"input  {each.name}: {_type(each)}{f'. {each.description}' if each.description else ''}")
    for step in found.steps:
        needs = f", after {', '.join(step.needs)}" if step.needs else ""
        condition = f", if {step.condition}" if step.condition else ""
        screen.data(f"step   {step.name}: {step.executor}{needs}{condition}")
    if asked is not None:
        for line in _asked(asked):
            screen.data(line)
    required = [word for each in found.inputs if each.required for word in ("-i", f"{each.name}=VALUE")]
    command = session.command("run", found.file, "--env", environment or "NAME", "--project", project, *required)
    screen.say(f"ask for it: {command}")
    return Exit.OK


def _type(spec: InputSpec) -> str:
    words: list[str] = [spec.type.value]
    if spec.enum:
        words.append(f"one of {', '.join(map(str, spec.enum))}")
    if spec.pattern:
        words.append(f"matching {spec.pattern}")
    if spec.default is not None:
        words.append(f"default {document(spec.default)}")
    elif spec.required:
        words.append("required")
    return ", ".join(words)


def _asked(found: Outlook) -> Iterator[str]:
    if found.refused:
        yield f"refused  {found.refused}"
    for each in found.environment.judged_by:
        yield f"judged   by {each.name} {each.set} ({each.level})"
    for seat in found.seats:
        people = f": {', '.join(seat.people) or 'nobody'} could" if seat.group else ""
        barred = f"; {', '.join(seat.barred)} could not" if seat.barred else ""
        few = "" if seat.enough else "; too few"
        yield f"asked    {seat.count} of {seat.group or 'anybody else'}{people}{barred}{few}"


def _outlook(found: Outlook) -> dict[str, Any]:
    """The fields that the API sends, too."""
    environment = found.environment
    return {
        "environment": environment.name,
        "protected": environment.protected,
        "policies": [each.to_json() for each in environment.judged_by],
        "seats": [vars(each) for each in found.seats],
        "refused": found.refused,
    }


def _json(found: Offered) -> dict[str, Any]:
    """The fields that the API sends, too."""
    inputs = [
        {name: value for name, value in vars(each).items() if name != "at"} | {"type": each.type.value}
        for each in found.inputs
    ]
    steps = [vars(each) for each in found.steps]
    return {name: value for name, value in vars(found).items() if name != "text"} | {"inputs": inputs, "steps": steps}
