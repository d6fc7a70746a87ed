"""Finds the values of secrets at the last moment; nothing here stores, logs or shows one."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.redact import LENGTH_MIN
from mandamus.secrets.model import SecretRef

BYTES_MAX = 64 * 1024


class Secrets:
    """Resolves references against the variables and files of this process."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder

    def resolve(self, refs: Mapping[str, SecretRef]) -> dict[str, str]:
        """Values by name. A file's one last line end is no part of the value; relative files stand in the folder.

        Raises ``secret_missing`` with every name that has no usable value, never with a value.
        """
        found: dict[str, str] = {}
        faults: dict[str, str] = {}
        for name, ref in sorted(refs.items()):
            try:
                found[name] = self._value(ref)
            except (OSError, ValueError) as error:
                faults[name] = f"{name} ({ref}): {_reason(error)}"
        if faults:
            raise MandamusError(
                Code.SECRET_MISSING,
                "secrets without a usable value: " + "; ".join(faults.values()),
                remedy="set the variable, or write the file, where this process runs; then try again",
                context={"secrets": list(faults)},
            )
        return found

    def _value(self, ref: SecretRef) -> str:
        value = self._environ.get(ref.env) if ref.env else self._read(self._folder / ref.file)
        if value is None:
            raise ValueError("the variable is not set")
        if len(value) < LENGTH_MIN:
            raise ValueError(f"shorter than {LENGTH_MIN} characters, too short to be kept out of output")
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("holds a NUL or bytes that are not UTF-8")
        return value

    def _read(self, path: Path) -> str:
        # O_NONBLOCK: opening a pipe nobody writes to would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("no regular file")
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(BYTES_MAX + 1)
        finally:
            os.close(fd)
        if len(data) > BYTES_MAX:
            raise ValueError(f"over {BYTES_MAX // 1024} KiB")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            # Not chained: the original error carries the bytes.
            raise ValueError("holds a NUL or bytes that are not UTF-8") from None
        return text.removesuffix("\n").removesuffix("\r")


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or "cannot be read") if isinstance(error, OSError) else str(error)
