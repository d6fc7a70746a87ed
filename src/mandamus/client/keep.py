"""Where the command line keeps the token of each server: one file of the user's own, that nobody else can read."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError

NAME = "tokens.json"
BYTES_MAX = 1024 * 1024
_NEW = ".new"


class Keep:
    """The tokens in a folder, by the address of their server."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def token_of(self, url: str) -> str | None:
        """The token of a server, or None; raises ``usage`` for a file that others may read or write."""
        return self._read().get(url)

    def put(self, url: str, token: str) -> None:
        """Keep a token, in place of the one that was there; the file is whole at every moment."""
        self._write({**self._read(), url: token})

    def drop(self, url: str) -> str | None:
        """Keep the token of a server no longer; the token, or None when there was none."""
        tokens = dict(self._read())
        dropped = tokens.pop(url, None)
        if dropped is not None:
            self._write(tokens)
        return dropped

    def _write(self, tokens: Mapping[str, str]) -> None:
        new = self.path.with_name(NAME + _NEW)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(opened, "wb") as file:
                file.write(canonical.dumps(tokens))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise MandamusError(
                Code.UNAVAILABLE,
                f"{self.path} cannot be written: {error.strerror}",
                remedy="make the folder yours and writable, or give the token as MANDAMUS_TOKEN",
            ) from error

    def _read(self) -> Mapping[str, str]:
        try:
            opened = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unfit(f"cannot be read: {error.strerror}") from error
        with os.fdopen(opened, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
                raise self._unfit("may be read or written by others")
            data = file.read(BYTES_MAX)
        try:
            found = canonical.loads(data)
        except MandamusError as error:
            raise self._unfit("is damaged") from error
        if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
            raise self._unfit("is damaged")
        return found

    def _unfit(self, why: str) -> MandamusError:
        return MandamusError(
            Code.USAGE,
            f"the file of tokens {self.path} {why}",
            remedy="delete it, end its tokens with `mandamus token revoke`, and give new ones to `mandamus login`",
        )
