"""Key files in ``HOME/keys``: made once, readable by the owner only."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy

_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


class Keys:
    """Named 32-byte keys, one file each (mode 0600)."""

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        self._folder = folder
        self._entropy = entropy

    def key(self, name: str) -> bytes:
        """The key of that name, made on first use; raises ``home_invalid`` when others could read it."""
        path = self._folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return self._make(path)
        if path.stat().st_mode & 0o077 or len(data) != 32:
            raise MandamusError(
                Code.HOME_INVALID,
                f"key file {path} is readable by others or not 32 bytes long",
                remedy=f"restore it from a backup, or `chmod 600 {path}`",
            )
        return data

    def held(self, name: str) -> list[str]:
        """The names of the keys that followed each other under one name, as they are there: NAME, NAME.2, NAME.3."""
        found = [1] if (self._folder / name).is_file() else []
        numbers = [path.suffix[1:] for path in self._folder.glob(f"{name}.*") if path.stem == name]
        found += sorted(int(number) for number in numbers if _NUMBER.fullmatch(number))
        return [name if number == 1 else f"{name}.{number}" for number in found]

    def set_aside(self, name: str, aside: str) -> None:
        """Rename a key that is not used again, so that nothing takes it for one of its name."""
        (self._folder / name).rename(self._folder / f"{aside}.{name}")
        sync_folder(self._folder)

    def follow(self, name: str) -> str:
        """Make the key that comes after those of a name; gives its own name."""
        last = self.held(name)[-1:] or [name]
        number = int(last[0].removeprefix(name).lstrip(".") or 1) + 1
        self._make(self._folder / f"{name}.{number}")
        return f"{name}.{number}"

    def _make(self, path: Path) -> bytes:
        make_once(path, self._entropy(32), self._entropy)
        return self.key(path.name)


def make_once(path: Path, data: bytes, entropy: Entropy) -> None:
    """Write a file only its owner may read, unless it is there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{entropy(8).hex()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, unlike a rename, fails when another process was first; then its file is the one.
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in the folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
