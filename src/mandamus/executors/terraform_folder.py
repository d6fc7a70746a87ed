"""The folder terraform works in: a copy of the module, its neighbours to read, its inputs, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mandamus.executors.model import Task
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError

STATE = "terraform.tfstate"
ERRORED = "errored.tfstate"
"""Where terraform leaves the new state when it cannot write it to its place."""

LOCK = ".terraform.lock.hcl"
DATA = ".terraform"
MODULES = f"{DATA}/modules"
PROVIDERS = f"{DATA}/providers"
OVERRIDE = "zzzz_mandamus_override.tf.json"
"""Files that end so are merged last, in the order of their names, and win over the module's own blocks."""

FILE_BYTES_MAX = 256 * 1024 * 1024
MADE_BYTES_MAX = 64 * 1024 * 1024
MADE_FILES_MAX = 10_000

# What another terraform may have left in the module: its state is not ours, nor are its downloads.
_LEFTOVERS = shutil.ignore_patterns(DATA, STATE, f"{STATE}.*", ERRORED)
# The state is ours, whatever backend or cloud block the module has.
_BACKEND = canonical.dumps({"terraform": {"backend": {"local": {}}}})


@dataclass(frozen=True)
class Made:
    """A file that terraform made while it planned: its path in the module's folder, its bytes, whether it may run."""

    name: str
    data: bytes
    executable: bool


@dataclass(frozen=True)
class Folder:
    """Where one phase works.

    ``module`` is the module's copy, where terraform starts and may write; ``given`` holds what we hand it and is
    read-only for it; ``out`` and ``home`` are for it to write. ``dir`` is the module's path inside the project.
    """

    base: Path
    source: Path
    dir: PurePosixPath
    linked: bool

    @property
    def module(self) -> Path:
        """The module's copy."""
        return self.base / "tree" / self.dir

    @property
    def given(self) -> Path:
        """What we hand to terraform."""
        return self.base / "given"

    @property
    def out(self) -> Path:
        """What terraform hands to us."""
        return self.base / "out"

    @property
    def home(self) -> Path:
        """An empty home."""
        return self.base / "home"

    @property
    def variables(self) -> Path:
        """The file of variables."""
        return self.given / "variables.tfvars.json"

    @property
    def state(self) -> Path:
        """The state file."""
        return self.module / STATE

    @property
    def errored(self) -> Path:
        """The state that could not be written to its place."""
        return self.module / ERRORED

    @property
    def writable(self) -> tuple[Path, ...]:
        """What terraform may write; each is a mount of its own, so none of them can be exchanged for a link."""
        return self.module, self.out, self.home

    @property
    def read_only(self) -> tuple[Path, ...]:
        """What terraform may read beside that."""
        return self.base / "tree", self.given

    @property
    def lock(self) -> bytes | None:
        """The project's dependency lock file."""
        return read(self.source / self.dir / LOCK)

    def override_backend(self) -> None:
        """Keep the state in the folder, whatever the module says."""
        with _writing(OVERRIDE):
            _write(self.module / OVERRIDE, _BACKEND, 0o644)

    def write_variables(self, variables: Mapping[str, Any]) -> None:
        """Hand over variables; their strings are taken literally, nothing in them is evaluated."""
        with _writing("the variables"):
            _write(self.variables, canonical.dumps(variables), 0o600)

    def write_plan(self, data: bytes) -> Path:
        """Hand over a saved plan."""
        path = self.given / "plan"
        with _writing("the saved plan"):
            _write(path, data, 0o600)
        return path

    def made(self) -> tuple[Made, ...]:
        """What terraform left in the module's folder beside the project's own files: downloaded modules, archives.

        Raises ``tool_failed`` for more than 64 MiB or 10,000 files, and for links.
        """
        found: list[Made] = []
        room = MADE_BYTES_MAX
        for path, name in _files(self.module):
            if _is_kept_elsewhere(name) or os.path.lexists(self.source / self.dir / name):
                continue
            data = read(path, room)
            if data is None or len(found) == MADE_FILES_MAX:
                raise _too_much(name)
            room -= len(data)
            found.append(Made(name, data, executable=bool(path.lstat().st_mode & 0o100)))
        return tuple(found)

    def restore(self, made: Iterable[Made]) -> None:
        """Put back what ``made`` found, into a fresh folder; never over a file of the project."""
        for file in made:
            path = self.module / file.name
            with _writing(file.name):
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, file.data, 0o755 if file.executable else 0o644)

    def links(self) -> dict[str, str]:
        """The providers that terraform linked from a mirror: place below its folder of providers, and target.

        Empty when any of them was unpacked instead.
        """
        top = self.module / PROVIDERS
        found: dict[str, str] = {}
        for parent, folders, names in os.walk(top):
            if names:
                return {}
            for name in folders:
                path = Path(parent) / name
                if path.is_symlink():
                    found[path.relative_to(top).as_posix()] = str(path.readlink())
        return found

    def link(self, links: Mapping[str, str]) -> bool:
        """Link the same providers again, without ``init``; False when one of them is gone.

        Terraform itself compares each with the checksums of the lock file whenever it loads them.
        """
        if not links or not all(Path(target).is_dir() for target in links.values()):
            return False
        with _writing("the links to providers"):
            for name, target in links.items():
                path = self.module / PROVIDERS / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(target)
        return True

    def remove(self) -> None:
        """Delete everything: it holds secrets in plain text."""
        shutil.rmtree(self.base, ignore_errors=True)


def at(task: Task, base: Path) -> Folder:
    """The folder of the task's module, as it may be; raises ``source_invalid`` for a ``dir`` outside the project."""
    module = task.inside(task.spec["dir"])
    source = task.source.resolve()
    return Folder(base, source, PurePosixPath(module.relative_to(source)), task.sandbox.mode != "none")


def lay_out(folder: Folder, state: bytes | None) -> None:
    """Make the folder afresh.

    Inside ``base/tree`` the project keeps its shape, so that ``../other`` in a module leads where it should. The
    module itself is copied; all else are hard links to the source's files, on a mount that is read-only inside
    (terraform follows symbolic links and would take the source's own path for ``path.module``). Without a sandbox
    nothing is read-only, so the whole is copied.
    """
    base = folder.base
    _clear(base)
    with _writing("the module's copy"):
        for made in (folder.given, folder.out, folder.home):
            made.mkdir(mode=0o700, parents=True)
        _copy_project(folder)
        if state is not None:
            _write(folder.state, state, 0o600)


def read(path: Path, limit: int = FILE_BYTES_MAX) -> bytes | None:
    """A regular file of at most ``limit`` bytes, or None. Links are not followed: what ran there may have made one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def _clear(base: Path) -> None:
    shutil.rmtree(base, ignore_errors=True)
    if base.exists():
        raise MandamusError(
            Code.CONFLICT,
            f"{base} is left from an earlier try and cannot be removed",
            remedy="remove the folder, then try again",
        )


def _copy_project(folder: Folder) -> None:
    module = folder.source / folder.dir
    if folder.linked and module != folder.source:

        def without_module(parent: str, _names: list[str]) -> list[str]:
            return [module.name] if Path(parent) == module.parent else []

        tree = folder.base / "tree"
        shutil.copytree(folder.source, tree, symlinks=True, copy_function=_link, ignore=without_module)
        shutil.copytree(module, folder.module, symlinks=True, ignore=_LEFTOVERS)
    else:
        shutil.copytree(folder.source, folder.base / "tree", symlinks=True, ignore=_LEFTOVERS)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copy2(source, target)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file and link below a folder, in the order of their names; no link is followed."""
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name != ".git" and name not in links)
        for name in sorted([*names, *links]):
            path = Path(parent) / name
            yield path, path.relative_to(folder).as_posix()


def _is_kept_elsewhere(name: str) -> bool:
    """Whether a file is remade by terraform itself, or is ours."""
    if name.startswith(f"{MODULES}/"):
        return False
    return name.startswith(f"{DATA}/") or name in {OVERRIDE, LOCK} or STATE in name or name == ERRORED


def _write(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)


@contextlib.contextmanager
def _writing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MandamusError(
            Code.STORAGE_FULL,
            f"could not write {what} for terraform: {error.strerror or error}",
            remedy="free space on the disk that holds the home, then try again",
            retryable=True,
        ) from error


def _too_much(name: str) -> MandamusError:
    return MandamusError(
        Code.TOOL_FAILED,
        f"planning made {name!a}, which cannot be kept for the apply: "
        f"links, files without permission, over {MADE_BYTES_MAX // 1024 // 1024} MiB or {MADE_FILES_MAX} files",
        remedy="keep modules in the project, and let the plan make less beside the code",
    )
