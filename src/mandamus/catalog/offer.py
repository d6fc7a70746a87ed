"""What a project offers to run: the workflow files in its folder as they are now, each read and checked."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path, PurePosixPath

from mandamus.catalog import workflow
from mandamus.catalog.model import Offered, OfferedStep, Workflow
from mandamus.catalog.source import WORKFLOWS_FOLDER, is_skipped
from mandamus.catalog.workflow import Validators
from mandamus.kernel import canonical
from mandamus.kernel.document import BYTES_MAX
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.kernel.reader import did_you_mean

SUFFIXES = frozenset({".yaml", ".yml"})
FILES_MAX = 1_000
KEPT_MAX = 1_000


class Offers:
    """Reads the workflow files of projects; a file is checked again only when its bytes have changed."""

    def __init__(self, validators: Validators) -> None:
        self._validators = validators
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Digest], Offered] = OrderedDict()

    def all(self, project: str, root: Path) -> list[Offered]:
        """Every workflow of a project, by its file; raises ``source_invalid`` when the folder cannot be read."""
        return [self._read(project, root, file) for file in files(root)]

    def one(self, project: str, root: Path, file: str) -> Offered:
        """The workflow in a file of a project; raises ``not_found`` with the nearest name."""
        known = files(root)
        if file not in known:
            there = f"there is {', '.join(known[:20])}" if known else "write one into its folder `workflows`"
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no workflow {file[:120]} in project {project}",
                remedy=did_you_mean(file, known, there),
                context={"project": project},
            )
        return self._read(project, root, file)

    def _read(self, project: str, root: Path, file: str) -> Offered:
        try:
            with (root / file).open("rb") as opened:
                data = opened.read(BYTES_MAX + 1)
        except OSError as error:
            why = f"{file} cannot be read: {error.strerror}"
            return Offered(project, file, canonical.digest(b""), "", problem=why)
        key = (f"{project}/{file}", canonical.digest(data))
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = _offered(project, file, data, self._validators)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return made


def files(root: Path) -> list[str]:
    """The paths of the workflow files of a project, in order, at most 1,000.

    Only files of the project itself: no link leads to one. Raises ``source_invalid`` when there is no such folder.
    """
    if not root.is_dir():
        raise MandamusError(
            Code.SOURCE_INVALID,
            "the folder of this project is not there, or cannot be read",
            remedy="put it back, or change `root` of the project in the platform file and run `mandamus env apply`",
        )
    # Neither a file nor a folder that is a link is looked into: it could lead anywhere.
    found, folders = [], [WORKFLOWS_FOLDER] if not (root / WORKFLOWS_FOLDER).is_symlink() else []
    while folders:
        folder = folders.pop()
        for entry in _entries(root / folder):
            name = f"{folder}/{entry.name}"
            if is_skipped(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif entry.is_file(follow_symlinks=False) and PurePosixPath(name).suffix in SUFFIXES:
                found.append(name)
    return sorted(found)[:FILES_MAX]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MandamusError(
            Code.SOURCE_INVALID,
            f"the folder {folder.name} of this project cannot be read: {error.strerror}",
            remedy="let the user that serves this home read it",
        ) from error


def _offered(project: str, file: str, data: bytes, validators: Validators) -> Offered:
    text, digest = data.decode("utf-8", "replace"), canonical.digest(data)
    try:
        made = workflow.read(data, file, validators)
    except MandamusError as error:
        return Offered(project, file, digest, text, problem=error.message)
    return Offered(project, file, digest, text, made.name, made.description, made.inputs, _steps(made))


def _steps(made: Workflow) -> tuple[OfferedStep, ...]:
    return tuple(
        OfferedStep(
            name=step.name,
            needs=step.needs,
            executor=step.executor,
            condition="" if step.condition is None else str(step.condition),
            secrets=tuple(sorted(step.secrets)),
        )
        for step in made.steps
    )
