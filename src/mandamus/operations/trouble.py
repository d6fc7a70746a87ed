"""Any exception as one of the house's errors, for every door: the machine's, the database's, and faults of ours."""

from __future__ import annotations

import errno
import hashlib
import shlex
import traceback
from typing import Any

from mandamus.kernel.errors import Code, MandamusError


def known(error: BaseException) -> MandamusError:
    """The error that a person is told."""
    match error:
        case MandamusError():
            return error
        case OSError(errno=int(), strerror=str()):
            return _machine(error)
        case _ if isinstance(getattr(error, "orig", None), Exception):
            return _database(error)
        case _:
            return _unexpected(error)


def _machine(error: OSError) -> MandamusError:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MandamusError(
            Code.STORAGE_FULL,
            f"no space left{where and ' for'}{where}",
            remedy="free space, then try again",
            retryable=True,
        )
    return MandamusError(
        Code.UNAVAILABLE,
        f"the system refused{where}: {error.strerror}",
        remedy=f"check that {shlex.quote(str(error.filename))} is there and yours"
        if where
        else "try again with --debug",
        context={"errno": errno.errorcode.get(error.errno or 0, "")},
    )


def _database(error: Any) -> MandamusError:
    """SQLAlchemy's error around a driver's, known by its shape: importing it would slow down every command.

    Only the driver's own words are shown; SQLAlchemy's text has the statement and its values in it.
    """
    return MandamusError(
        Code.HOME_INVALID,
        f"the database cannot be used: {_first_line(error.orig) or type(error.orig).__name__}",
        remedy="`mandamus doctor` looks at it; restore the home from a backup when it is damaged",
    )


def _unexpected(error: BaseException) -> MandamusError:
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    # The same fault has the same id wherever it happens, so that reports of it can be told from others.
    name = hashlib.sha256("\n".join([type(error).__name__, *frames]).encode()).hexdigest()[:8]
    return MandamusError(
        Code.INTERNAL,
        f"a fault of ours: {type(error).__name__} (id {name})",
        remedy="run the same again with --debug to see where, and report it with this id",
        context={"id": name},
    )


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0]
