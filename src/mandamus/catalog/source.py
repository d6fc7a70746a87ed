"""The source: a project's tree as deterministic bytes, and safely back into a folder.

A snapshot is a POSIX tar (ustar with pax only where a name needs it) of regular files, folders and links that stay
inside, sorted by name, without times, owners or modes beyond "executable". The same tree gives the same bytes on every
machine, so its digest names it. Unpacking trusts nothing: what a snapshot would not hold is refused.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mandamus.kernel.errors import Code, MandamusError

BYTES_MAX = 64 * 1024 * 1024
FILES_MAX = 10_000
PATH_BYTES_MAX = 1_000
PATH_PARTS_MAX = 60

PROJECT_FILE = "mandamus.yaml"
WORKFLOWS_FOLDER = "workflows"

HOME_FILE = "mandamus.db"
"""A folder with this file is a home: it holds keys and the audit log, and is never part of a project's tree."""

SKIPPED = frozenset({".git", ".hg", ".svn", ".venv", ".terraform", "node_modules", "__pycache__"})
"""Folders that are made again from what is in the tree, or hold its history."""

_BLOCK = 512


def is_skipped(name: str) -> bool:
    """Whether a snapshot leaves a file or folder out; state files may hold secrets and belong to the state store."""
    return name in SKIPPED or name.endswith(".tfstate") or ".tfstate." in name


def find_root(start: Path) -> Path:
    """The project a file or folder belongs to.

    The nearest folder at or above it that holds ``mandamus.yaml``, else the parent of the nearest ``workflows``
    folder; raises ``source_invalid`` when there is neither.
    """
    begin = start.resolve()
    folder = begin if begin.is_dir() else begin.parent
    for candidate in (folder, *folder.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate
    for candidate in (folder, *folder.parents):
        if candidate.name == WORKFLOWS_FOLDER and candidate.parent != candidate:
            return candidate.parent
    raise MandamusError(
        Code.SOURCE_INVALID,
        f"{start} is in no project: no folder at or above it holds {PROJECT_FILE} or is called {WORKFLOWS_FOLDER}",
        remedy="run `mandamus init` in the project's folder",
    )


def snapshot(root: Path) -> bytes:
    """The tree under ``root`` as deterministic tar bytes.

    At most 10,000 entries and 64 MiB. Raises ``source_invalid`` for links that leave the root or lead nowhere, for
    devices, sockets and pipes, and for names no other system could hold.
    """
    base = root.resolve()
    if not base.is_dir():
        raise _invalid(f"{root} is no folder", "name the project's folder")
    out = io.BytesIO()
    size = 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for count, (path, name) in enumerate(_walk(base), start=1):
            if count > FILES_MAX:
                raise _invalid(
                    f"{root} holds more than {FILES_MAX} files and folders", "keep large data outside the project"
                )
            size += _add(tar, base, path, name, BYTES_MAX - size)
    return out.getvalue()


def unpack(data: bytes, dest: Path) -> None:
    """Write a snapshot into a new folder; raises ``source_invalid`` and leaves no folder for anything suspicious.

    Refused: absolute names, ``..``, repeated and clashing names, anything but files, folders and links that stay
    inside, more than 10,000 entries or 64 MiB. Raises ``conflict`` when the folder is there already, ``storage_full``
    when the disk does not take it.
    """
    entries = _entries(data)
    try:
        dest.mkdir(mode=0o700, parents=True)
        _write(entries, dest)
    except FileExistsError as error:
        raise MandamusError(
            Code.CONFLICT, f"{dest} is there already", remedy="unpack the source into a folder that is not there yet"
        ) from error
    except OSError as error:
        raise MandamusError(
            Code.STORAGE_FULL,
            f"could not unpack the source into {dest}: {error.strerror}",
            remedy="free space on the disk that holds the home, then try again",
            retryable=True,
        ) from error


def read_file(data: bytes, name: str) -> bytes:
    """One regular file of a snapshot; raises ``not_found``, or ``source_invalid`` for a name outside the project."""
    wanted = _clean(name, "the path")
    for entry in _entries(data):
        if entry.name == wanted and entry.content is not None:
            return entry.content
    raise MandamusError(
        Code.NOT_FOUND,
        f"{wanted} is not in the snapshot of the project",
        remedy="check the path; it is relative to the project's folder",
        context={"path": wanted},
    )


@dataclass(frozen=True)
class _Entry:
    name: str
    content: bytes | None
    target: str
    executable: bool


def _walk(base: Path) -> Iterator[tuple[Path, str]]:
    """Every path below ``base`` that belongs in a snapshot, folders before what they hold, in byte order of names."""
    stack = [(base, "")]
    while stack:
        folder, prefix = stack.pop()
        try:
            found = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise _unreadable(prefix or ".", error) from error
        if any(entry.name == HOME_FILE for entry in found):
            if not prefix:
                raise _invalid(f"{base} is a home of Mandamus, no project", "name the project's folder")
            continue
        if prefix:
            yield folder, prefix
        below: list[tuple[Path, str]] = []
        for entry in found:
            if is_skipped(entry.name):
                continue
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            if entry.is_dir(follow_symlinks=False):
                below.append((Path(entry.path), name))
            else:
                yield Path(entry.path), name
        stack.extend(reversed(below))


def _add(tar: tarfile.TarFile, base: Path, path: Path, name: str, room: int) -> int:
    """Add one entry and return the bytes of its content."""
    info = tarfile.TarInfo(_clean(name, "a file"))
    info.mode = 0o755
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
            return 0
        if stat.S_ISLNK(status.st_mode):
            info.type = tarfile.SYMTYPE
            info.linkname = _link(base, path, name)
            tar.addfile(info)
            return 0
        if not stat.S_ISREG(status.st_mode):
            raise _invalid(f"{name} is a device, pipe or socket", "move it out of the project")
        content = _read(path, name, room)
        info.size = len(content)
        info.mode = 0o755 if status.st_mode & 0o111 else 0o644
        tar.addfile(info, io.BytesIO(content))
    except OSError as error:
        raise _unreadable(name, error) from error
    return len(content)


def _read(path: Path, name: str, room: int) -> bytes:
    # O_NOFOLLOW and the check on the open file: what was a regular file a moment ago may be a link by now.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _invalid(f"{name} is a device, pipe or socket", "move it out of the project")
        content = file.read(room + 1)
    if len(content) > room:
        raise _invalid(
            f"the project holds more than {BYTES_MAX // 1024 // 1024} MiB; {name} goes over it",
            "keep large data outside the project",
        )
    return content


def _link(base: Path, path: Path, name: str) -> str:
    target = str(path.readlink())
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise _invalid(f"the link {name} leads nowhere ({target})", "delete it, or mend its target") from error
    inside = resolved.is_relative_to(base)
    if inside and any(is_skipped(part) for part in resolved.relative_to(base).parts):
        raise _invalid(f"the link {name} points to what a snapshot leaves out ({target})", "delete it")
    if not inside or not _stays(name, target):
        raise _invalid(f"the link {name} leaves the project ({target})", "copy what it points to into the project")
    return target


def _stays(name: str, target: str) -> bool:
    """Whether a relative target stays inside at every step, whatever links there are on the way."""
    if target.startswith("/") or not target or "\x00" in target:
        return False
    depth = name.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in {"", "."} else 1
        if depth < 0:
            return False
    return True


def _clean(name: str, what: str) -> str:
    """The name if it is one a snapshot may hold."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise _invalid(f"{what} has a name that is not UTF-8: {name!a}", "rename it") from error
    parts = name.split("/")
    if not name or any(part in {"", ".", ".."} for part in parts):
        raise _invalid(f"{what} has the name {name!a}, which is no plain path in the project", "rename it")
    if size > PATH_BYTES_MAX or len(parts) > PATH_PARTS_MAX:
        raise _invalid(f"{what} has a name over {PATH_BYTES_MAX} bytes or {PATH_PARTS_MAX} levels", "shorten it")
    if any(ord(char) < 32 or ord(char) == 127 or char == "\\" for char in name):
        raise _invalid(f"{what} has a control character or a backslash in its name: {name!a}", "rename it")
    return name


def _entries(data: bytes) -> list[_Entry]:
    """Every entry of a snapshot, checked before anything is written."""
    if len(data) > BYTES_MAX + FILES_MAX * 4 * _BLOCK:
        raise _invalid("the snapshot is too large", "take it again with `mandamus run`")
    found: list[_Entry] = []
    kinds: dict[str, bool] = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for info in tar:
                entry = _entry(tar, info, BYTES_MAX - size)
                size += len(entry.content or b"")
                _admit(entry, kinds)
                found.append(entry)
                if len(found) > FILES_MAX:
                    raise _invalid("the snapshot holds too many files", "take it again with `mandamus run`")
            # A reader of tar takes a damaged header for the end: then files would be missing, and nobody told.
            end = data[tar.offset :]
            if len(end) < 2 * _BLOCK or end.strip(b"\0"):
                raise _invalid("the snapshot has no proper end", "take it again with `mandamus run`")
    except (tarfile.TarError, EOFError, ValueError, OverflowError, UnicodeError, RecursionError) as error:
        raise _invalid("the snapshot is no tar file we wrote", "take it again with `mandamus run`") from error
    _check_links(found)
    return found


def _entry(tar: tarfile.TarFile, info: tarfile.TarInfo, room: int) -> _Entry:
    name = _clean(info.name, "an entry of the snapshot")
    if info.type == tarfile.DIRTYPE:
        return _Entry(name, None, "", executable=True)
    if info.type == tarfile.SYMTYPE:
        if not _stays(name, info.linkname):
            raise _invalid(f"the link {name!a} of the snapshot leaves it ({info.linkname!a})", "do not use it")
        return _Entry(name, None, info.linkname, executable=True)
    if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or info.sparse is not None:
        raise _invalid(f"{name!a} of the snapshot is no file, folder or symbolic link", "do not use it")
    if not 0 <= info.size <= room:
        raise _invalid(f"the snapshot holds more than {BYTES_MAX // 1024 // 1024} MiB", "do not use it")
    file = tar.extractfile(info)
    content = file.read() if file is not None else b""
    if len(content) != info.size:
        raise _invalid(f"{name!a} of the snapshot is cut short", "take it again with `mandamus run`")
    return _Entry(name, content, "", executable=bool(info.mode & 0o111))


def _admit(entry: _Entry, kinds: dict[str, bool]) -> None:
    """Refuse a name that stands twice, or below something that is no folder: writing there could go elsewhere."""
    if entry.name in kinds:
        raise _invalid(f"{entry.name!a} stands twice in the snapshot", "do not use it")
    parents = [str(parent) for parent in PurePosixPath(entry.name).parents][:-1]
    for parent in parents:
        if not kinds.get(parent, True):
            raise _invalid(f"{entry.name!a} of the snapshot lies below something that is no folder", "do not use it")
        kinds.setdefault(parent, True)
    is_folder = entry.content is None and not entry.target
    if entry.name in kinds and not is_folder:
        raise _invalid(f"{entry.name!a} stands twice in the snapshot", "do not use it")
    kinds[entry.name] = is_folder


def _check_links(entries: list[_Entry]) -> None:
    """A link's target must exist in the snapshot: then no chain of links can lead out of it."""
    targets = {entry.name: entry.target for entry in entries if entry.target}
    names = {entry.name for entry in entries}
    names |= {str(parent) for entry in entries for parent in PurePosixPath(entry.name).parents}
    for name in targets:
        if _resolve(name, targets) not in names:
            raise _invalid(f"the link {name!a} of the snapshot leads nowhere", "do not use it")


def _resolve(name: str, targets: dict[str, str]) -> str:
    """Where a link ends, following every link on the way; an impossible name when it leaves or goes round."""
    pending = name.split("/")[::-1]
    done: list[str] = []
    for _ in range(10 * PATH_PARTS_MAX):
        if not pending:
            return "/".join(done) or "."
        part = pending.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not done:
                return ""
            done.pop()
            continue
        target = targets.get("/".join([*done, part]))
        if target is None:
            done.append(part)
        else:
            pending += target.split("/")[::-1]
    return ""


def _write(entries: list[_Entry], dest: Path) -> None:
    """Files and folders first, links last, so that nothing is ever written through a link."""
    for entry in entries:
        path = dest / entry.name
        if entry.content is None and not entry.target:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif entry.content is not None:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o755 if entry.executable else 0o644), "wb") as file:
                file.write(entry.content)
    for entry in entries:
        if entry.target:
            path = dest / entry.name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.symlink_to(entry.target)


def _unreadable(name: str, error: OSError) -> MandamusError:
    return _invalid(f"{name} cannot be read: {error.strerror}", "give yourself permission, or move it out")


def _invalid(message: str, remedy: str) -> MandamusError:
    return MandamusError(Code.SOURCE_INVALID, message, remedy=remedy)
