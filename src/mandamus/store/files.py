"""Files that are handed to people: never written over, and there only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mandamus.kernel.errors import Code, MandamusError


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there before, durable when the block ends and gone again when it fails.

    Raises ``conflict`` when it is there, ``unavailable`` when it cannot be written.
    """
    try:
        with path.open("xb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink()
                raise
    except FileExistsError as error:
        raise MandamusError(
            Code.CONFLICT, f"{path} exists already", remedy="name another file, or move this one away"
        ) from error
    except OSError as error:
        raise MandamusError(
            Code.UNAVAILABLE,
            f"{path} cannot be written: {error.strerror}",
            remedy="name a file in a folder that is there, is yours and has space",
        ) from error
