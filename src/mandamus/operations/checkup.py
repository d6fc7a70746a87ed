"""Checkup: what can be seen of a home from outside, also when it does not open."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

KEYS_FOLDER = "keys"
DATABASE_FILE = "mandamus.db"
LOCK_FILE = "engine.lock"

PYTHON_MIN = (3, 11)
SQLITE_MIN_FROM_PYTHON_312 = (3, 42, 0)
"""DBOS asks SQLite for `unixepoch('subsec')`, which older ones do not know; on Python 3.11 it does not need it."""

KEY_BYTES = 32
FREE_BYTES_LOW = 1024**3
FREE_BYTES_MIN = 64 * 1024**2
FREE_FILES_LOW = 10_000

_SQLITE_MAGIC = b"SQLite format 3\x00"
_PARTIAL_KEY = re.compile(r".*\.[0-9a-f]{16}")
"""What a process that died while it made a key left behind; no key is read from it."""


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``fatal`` says that the home must not be opened before it is mended."""

    check: str
    level: Level
    message: str
    remedy: str = ""
    fatal: bool = False

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "check": self.check,
            "level": self.level.value,
            "message": self.message,
            "remedy": self.remedy,
            "fatal": self.fatal,
        }


def look(home: Path, *, embedded: bool = True) -> list[Finding]:
    """Everything that can be seen of a home without opening it; ``embedded`` says that its database is SQLite."""
    findings = list(_versions())
    if not home.is_dir():
        message = f"there is no home in {home}"
        remedy = "make one with `mandamus init`, or name another with --home DIR"
        return [*findings, Finding("home", Level.FAILED, message, remedy, fatal=True)]
    findings.append(_folder(home))
    findings += _keys(home / KEYS_FOLDER)
    if embedded:
        findings.append(_database(home / DATABASE_FILE))
    findings.append(_disk(home))
    return findings


def engine_holder(home: Path) -> str | None:
    """The process id of the engine of this home as text, None when there is no engine.

    Asks for the lock as one reader among others and lets go of it at once: it is not taken from anybody.
    """
    try:
        fd = os.open(home / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
    else:
        return None
    finally:
        os.close(fd)


def _versions() -> Iterator[Finding]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < PYTHON_MIN:
        yield Finding("python", Level.FAILED, f"Python {python} is too old", "use Python 3.11 or newer", fatal=True)
    else:
        yield Finding("python", Level.OK, f"Python {python}")
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < SQLITE_MIN_FROM_PYTHON_312:
        yield Finding(
            "sqlite",
            Level.FAILED,
            f"SQLite {sqlite3.sqlite_version} is too old for Python {python}, which needs 3.42 or newer",
            "use Python 3.11, a Python that brings a newer SQLite (such as one from `uv python install`), or Postgres",
        )
    else:
        yield Finding("sqlite", Level.OK, f"SQLite {sqlite3.sqlite_version}")


def _folder(home: Path) -> Finding:
    found = home.stat()
    if found.st_uid != os.geteuid():
        message = f"{home} belongs to user {found.st_uid}, and you are user {os.geteuid()}"
        return Finding("home", Level.WARNING, message, "work as the owner of the home, or name another with --home DIR")
    if stat.S_IMODE(found.st_mode) & 0o077:
        message = f"{home} can be entered by others (mode {stat.S_IMODE(found.st_mode):o})"
        return Finding("home", Level.FAILED, message, f"`chmod 700 {home}`", fatal=True)
    return Finding("home", Level.OK, str(home))


def _keys(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        message = f"{folder} is not there: nothing of this home can be read without its keys"
        yield Finding("keys", Level.FAILED, message, "restore the keys from the backup of this home", fatal=True)
        return
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        yield Finding("keys", Level.FAILED, f"{folder} can be entered by others", f"`chmod 700 {folder}`")
    bad = False
    keys = sorted(path for path in folder.iterdir() if not _PARTIAL_KEY.fullmatch(path.name))
    for path in keys:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size != KEY_BYTES:
            message = f"key {path} is no file of {KEY_BYTES} bytes"
            yield Finding("keys", Level.FAILED, message, "restore it from the backup of this home", fatal=True)
            bad = True
        elif stat.S_IMODE(found.st_mode) & 0o077:
            message = f"key {path} can be read by others (mode {stat.S_IMODE(found.st_mode):o})"
            remedy = f"`chmod 600 {path}`; if others were on this machine, count the key as known to them"
            yield Finding("keys", Level.FAILED, message, remedy, fatal=True)
            bad = True
    if not bad:
        yield Finding("keys", Level.OK, f"{len(keys)} keys, yours alone")


def _database(path: Path) -> Finding:
    if not path.is_file():
        message = f"{path} is not there"
        remedy = "restore it from a backup; for a new home run `mandamus init`, for Postgres set MANDAMUS_DATABASE_URL"
        return Finding("database file", Level.FAILED, message, remedy, fatal=True)
    with path.open("rb") as file:
        magic = file.read(len(_SQLITE_MAGIC))
    if magic != _SQLITE_MAGIC:
        message = f"{path} is no SQLite database"
        return Finding("database file", Level.FAILED, message, "restore it from a backup", fatal=True)
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        return Finding("database file", Level.FAILED, f"{path} can be written by others", f"`chmod 600 {path}`")
    return Finding("database file", Level.OK, f"{path.name}, {size(path.stat().st_size)}")


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(home).free
    files = os.statvfs(home)
    if free < FREE_BYTES_MIN:
        return Finding("disk", Level.FAILED, f"{size(free)} free for {home}", "free space before anything is run")
    if free < FREE_BYTES_LOW or (files.f_files > 0 and files.f_favail < FREE_FILES_LOW):
        message = f"{size(free)} and {files.f_favail} files free for {home}"
        return Finding("disk", Level.WARNING, message, "free space soon: a full disk stops every run")
    return Finding("disk", Level.OK, f"{size(free)} free")


def size(count: int) -> str:
    """Bytes for people: ``3.2 MiB``."""
    number, units = float(count), iter(("bytes", "KiB", "MiB", "GiB"))
    unit = next(units)
    for bigger in units:
        if number < 1024:
            break
        number, unit = number / 1024, bigger
    return f"{count} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
