"""The name of a home's log: in a file of the home, chosen once, and changed by an epoch only."""

from __future__ import annotations

import os
from pathlib import Path

from mandamus.settings import Settings
from mandamus.store.keys import sync_folder

ORIGIN_FILE = "origin"


def origins(settings: Settings, home: Path) -> tuple[str, str]:
    """The log's name, and the name it began with: the same until an epoch; chosen once, when the home is made."""
    path = home / ORIGIN_FILE
    try:
        names = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        name = settings.origin or f"mandamus.home/{os.urandom(8).hex()}"
    else:
        return names[0], names[-1]
    partial = home / f".{ORIGIN_FILE}.{os.urandom(8).hex()}"
    partial.write_text(f"{name}\n", encoding="utf-8")
    try:
        # A link, unlike a rename, fails when another process was first; then its name is the name.
        os.link(partial, path)
    except FileExistsError:
        return origins(settings, home)
    finally:
        partial.unlink()
    return name, name


def name_origin(home: Path, origin: str, base: str) -> None:
    """Write the name of the log that the home goes on with."""
    partial = home / f".{ORIGIN_FILE}.{os.urandom(8).hex()}"
    with partial.open("w", encoding="utf-8") as file:
        file.write(f"{origin}\n{base}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(home / ORIGIN_FILE)
    sync_folder(home)
