"""Exactly one engine per home: a file lock that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class HomeLock:
    """``HOME/engine.lock``; the number inside is for people, the lock itself is what counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False when another process has it."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
        return True

    def release(self) -> None:
        """Let the next process have it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
