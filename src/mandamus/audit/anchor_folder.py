"""An anchor that is a folder of write-once files: named by size, never replaced, read-only, durable when it returns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mandamus.audit.anchor import SUFFIX, Anchored, Kept, file_of, folder_of, other_checkpoint, same_tree, trouble
from mandamus.audit.model import Checkpoint
from mandamus.kernel.ids import Entropy
from mandamus.store.keys import sync_folder


class FolderAnchor:
    """Files ``<log>/<size>.checkpoint`` in a folder that exists: a mount that is not there is no empty anchor."""

    kind = "folder"

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        self._folder = folder
        self._entropy = entropy

    def put(self, checkpoint: Checkpoint) -> Anchored:
        """See `Anchor.put`."""
        with self._disk_trouble():
            path = self.path_of(checkpoint.origin, checkpoint.size)
            if not self.write(path, checkpoint.note) and not same_tree(path.read_bytes(), checkpoint.note):
                raise other_checkpoint(str(path), checkpoint)
        return Anchored(str(path))

    def kept(self, origin: str) -> Iterator[Kept]:
        """See `Anchor.kept`."""
        with self._disk_trouble():
            self._there()
            folder = self._folder / folder_of(origin)
            paths = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
            found = [Kept(str(path), path.read_bytes()) for path in paths]
        yield from found

    def path_of(self, origin: str, size: int, suffix: str = SUFFIX) -> Path:
        """Where the file for a size belongs."""
        return self._folder / folder_of(origin) / Path(file_of(size)).with_suffix(suffix)

    def write(self, path: Path, data: bytes) -> bool:
        """Write a new file; False when there is one of that name, which stays as it is."""
        self._there()
        if path.exists():
            return False
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o755, exist_ok=True)
            sync_folder(self._folder)
        partial = path.with_name(f".{path.name}.{self._entropy(8).hex()}")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, fails when the name is taken.
            os.link(partial, path)
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        sync_folder(path.parent)
        return True

    def _there(self) -> None:
        if not self._folder.is_dir():
            raise trouble(f"the anchor {self._folder}", "there is no such folder")

    @contextmanager
    def _disk_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise trouble(f"the anchor {self._folder}", error.strerror or str(error)) from error
