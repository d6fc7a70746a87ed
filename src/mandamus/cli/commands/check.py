"""``mandamus check``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mandamus.catalog import workflow
from mandamus.catalog.source import find_root
from mandamus.cli import project
from mandamus.cli.render import Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.document import BYTES_MAX
from mandamus.kernel.errors import Code, Exit, MandamusError, Problem


@click.command("check")
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--project", "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The project; else the one around the files or the working folder.",
)  # fmt: skip
@common
@pass_session
def command(session: Session, files: tuple[Path, ...], folder: Path | None) -> Exit:
    """Check workflows; every problem at once.

    Checks the files named, or every workflow of the project, as a run would, and needs no home. Problems go to standard
    output as file:line:col: code: message (remedy).

    \b
    Example:
      mandamus check workflows/storage-bucket.yaml
    """  # noqa: D301 - \b keeps click from joining the lines
    wanted = list(files) or _all(folder)
    validators = session.handed.validators()
    results = [_check(path, validators) for path in wanted]
    problems = [problem for result in results for problem in result["problems"]]
    if session.wants_json:
        found = [{**result, "problems": [vars(problem) for problem in result["problems"]]} for result in results]
        session.screen.json({"ok": not problems, "files": found})
    else:
        _show(session, results)
    return Exit.USAGE if problems else Exit.OK


def _all(folder: Path | None) -> list[Path]:
    root = folder or find_root(Path())
    found = project.workflows(root)
    if not found:
        raise MandamusError(
            Code.NOT_FOUND,
            f"{root} has no workflows",
            remedy="write one into the folder workflows, or begin with `mandamus init`",
        )
    here = Path.cwd()
    return [path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path for path in found]


def _check(path: Path, validators: workflow.Validators) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
        made = workflow.read(data, str(path), validators)
    except OSError as error:
        text = error.strerror or "cannot be read"
        problem = Problem(str(path), 1, 1, Code.NOT_FOUND.text, text, "name a workflow file, such as workflows/x.yaml")
        return {"file": str(path), "workflow": None, "steps": None, "problems": [problem]}
    except MandamusError as error:
        return {"file": str(path), "workflow": None, "steps": None, "problems": _problems(path, error)}
    return {"file": str(path), "workflow": made.name, "steps": len(made.steps), "problems": []}


def _problems(path: Path, error: MandamusError) -> list[Problem]:
    found: Any = error.context.get("problems")
    if found:
        return [Problem(**each) for each in found]
    return [Problem(str(path), 1, 1, error.code.text, error.message, error.remedy)]


def _show(session: Session, results: list[dict[str, Any]]) -> None:
    screen = session.screen
    for result in results:
        for problem in result["problems"]:
            screen.data(str(problem))
        if not result["problems"]:
            steps = f"{result['steps']} step{'' if result['steps'] == 1 else 's'}"
            screen.data(f"{result['file']}: ", Painted("ok", "green"), f", {result['workflow']}, {steps}")
    count = sum(len(result["problems"]) for result in results)
    if count:
        bad = sum(bool(result["problems"]) for result in results)
        files = f"{len(results)} file{'' if len(results) == 1 else 's'}"
        screen.say(f"{count} problem{'' if count == 1 else 's'} in {bad} of {files}")
