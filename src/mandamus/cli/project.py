"""What a person names on the command line: the project, a workflow in it, inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from mandamus.catalog.source import WORKFLOWS_FOLDER, find_root
from mandamus.cli.session import Session
from mandamus.kernel import canonical
from mandamus.kernel.document import BYTES_MAX, parse
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import did_you_mean

SUFFIXES = (".yaml", ".yml")

F = TypeVar("F", bound=Callable[..., Any])

_ASKING = (
    click.argument("workflow"),
    click.option("--env", "environment", metavar="NAME", required=True, help="The environment."),
    click.option("-i", "--input", "pairs", metavar="NAME=VALUE", multiple=True, help="An input; wins over --inputs."),
    click.option(
        "--inputs", "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Inputs from a JSON or YAML file.",
    ),
    click.option("--reason", default="", help="Why; recorded, and shown to approvers."),
    click.option(
        "--project", "folder", metavar="DIR", type=click.Path(path_type=Path),
        help="The project, on a server by its name; else the one around the workflow or the working folder, or the only"
        " one there.",
    ),
)  # fmt: skip


def asking(command: F) -> F:
    """The argument and the options by which a run is asked for."""
    for option in reversed(_ASKING):
        command = option(command)
    return command


def asked_for(session: Session, named: str, project: Path | None) -> tuple[Path, str]:
    """The project and the workflow's path in it. A server has the files: there a project is a name, or none."""
    if session.server is None:
        return workflow(named, project)
    return project or Path(), workflow_path(named)


def workflow_path(named: str) -> str:
    """The path of a workflow in a project that is elsewhere, from it or from the name of a file in ``workflows``."""
    return named if named.endswith(SUFFIXES) or "/" in named else f"{WORKFLOWS_FOLDER}/{named}{SUFFIXES[0]}"


def workflow(named: str, project: Path | None) -> tuple[Path, str]:
    """The project's root and the workflow's path in it, from a path or from the name of a file in ``workflows``.

    Raises ``not_found`` with the nearest name, ``source_invalid`` for a file outside the project.
    """
    if project is not None and not project.is_dir():
        raise MandamusError(
            Code.USAGE, f"there is no folder {project}", remedy="name the folder of the project with --project DIR"
        )
    if named.endswith(SUFFIXES) or "/" in named:
        path = Path(named)
        root = (project or find_root(path)).resolve()
        resolved = path.resolve() if project is None or path.exists() else (root / path).resolve()
        if not resolved.is_relative_to(root):
            raise MandamusError(
                Code.SOURCE_INVALID,
                f"{named} lies outside the project {root}",
                remedy="name the project it belongs to with --project DIR",
            )
        if not resolved.is_file():
            raise _missing(named, root)
        return root, resolved.relative_to(root).as_posix()
    root = (project or find_root(Path())).resolve()
    for suffix in SUFFIXES:
        if (root / WORKFLOWS_FOLDER / f"{named}{suffix}").is_file():
            return root, f"{WORKFLOWS_FOLDER}/{named}{suffix}"
    raise _missing(named, root)


def workflows(root: Path) -> list[Path]:
    """The workflow files of a project, by name."""
    folder = root / WORKFLOWS_FOLDER
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def _missing(named: str, root: Path) -> MandamusError:
    known = [path.stem for path in workflows(root)]
    there = f"there is {', '.join(known)}" if known else "write one, or begin with `mandamus init`"
    return MandamusError(
        Code.NOT_FOUND,
        f"there is no workflow {named} in {root}",
        remedy=did_you_mean(Path(named).stem, known, there),
        context={"project": str(root)},
    )


def inputs(pairs: Iterable[str], file: Path | None) -> dict[str, Any]:
    """Inputs from a JSON or YAML file and from ``name=value`` words, which win; typed later, by the workflow.

    Raises ``usage`` for words that are no pair or stand twice, ``document_invalid`` and ``value_invalid`` for the file.
    """
    found = {} if file is None else _from_file(file)
    given: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or name.strip() in given:
            why = "stands twice" if equals and name.strip() else "is no name=value"
            raise MandamusError(
                Code.USAGE,
                f"-i {pair[:80]!r} {why}",
                remedy="give each input once, as in -i name=ledger -i public=false",
            )
        given[name.strip()] = value
    return {**found, **given}


def _from_file(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        data = opened.read(BYTES_MAX + 1)
    value = canonical.loads(data) if file.suffix == ".json" else parse(data, str(file)).plain()
    if not isinstance(value, dict):
        raise MandamusError(
            Code.USAGE, f"{file} holds no map of inputs", remedy="write one `name: value` line for each input"
        )
    return value
