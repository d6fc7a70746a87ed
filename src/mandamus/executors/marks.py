"""Durable marks around an act, by which a probe knows after our death what had begun and what had ended.

A mark is one file: absent, nothing was started; empty, it was started; with a line of JSON, it ended, and how.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from mandamus.executors.model import Exit, Marks
from mandamus.kernel.errors import Code, MandamusError

# From the mark up to the folder of all runs: a name is durable only when every folder above it is.
_LEVELS = 4


@dataclass(frozen=True)
class Trace:
    """What the marks tell. No ``started``: the command never ran. ``code`` None: nobody saw it end."""

    started: bool
    code: int | None = None
    stopped: bool = False
    """Whether it ended because of a cancel or a deadline."""


def started(marks: Marks) -> None:
    """Mark, durably, that the command is about to run; raises ``storage_full`` when that cannot be written."""
    try:
        _path(marks).write_bytes(b"")
        for folder in [marks.folder, *marks.folder.parents][:_LEVELS]:
            _sync(folder)
    except OSError as error:
        raise MandamusError(
            Code.STORAGE_FULL,
            f"could not mark the start of the step in {marks.folder}: {error.strerror}; nothing was started",
            remedy="free space on the disk that holds the home, then try again",
            retryable=True,
        ) from error


def unstarted(marks: Marks) -> None:
    """Take the mark back: the command turned out never to have run."""
    _path(marks).unlink(missing_ok=True)
    _sync(marks.folder)


def ended(marks: Marks, done: Exit) -> None:
    """Mark, durably, how the command ended, after everything it left in ``marks.results`` is durable.

    On a full disk there is no mark: the caller knows the end anyway, and only our death before the result is recorded
    would leave the question open.
    """
    fact = {"code": done.code, "stopped": done.timed_out or done.cancelled}
    with contextlib.suppress(OSError):
        for path in marks.results:
            if path.is_file():
                _sync(path)
                _sync(path.parent)
        with _path(marks).open("r+b") as file:
            file.write(json.dumps(fact).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def read(marks: Marks) -> Trace:
    """What the marks in the folder tell; a folder that is not there tells that nothing started."""
    try:
        data = _path(marks).read_bytes()
    except FileNotFoundError:
        return Trace(started=False)
    if not data.endswith(b"}\n"):
        # Empty, or torn by the crash that kept us from finishing it.
        return Trace(started=True)
    fact = json.loads(data)
    return Trace(started=True, code=fact["code"], stopped=fact["stopped"])


def _path(marks: Marks) -> Path:
    return marks.folder / f"{marks.name}.mark"


def _sync(path: Path) -> None:
    # What the tool left may be anything; a link or a pipe must neither be followed nor block us.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
