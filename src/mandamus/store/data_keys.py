"""A data key for each person: what is kept about them is sealed with it, and is lost when the key is destroyed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy
from mandamus.store.keys import Keys, make_once, sync_folder

WRAPPING = "private"
"""The home's key that wraps the data keys."""
FOLDER = "people"
"""In the home, where the data keys are."""
HELD_MAX = 1_024
"""Unwrapped keys that a process keeps."""

_NONCE_BYTES = 12
_KEY_BYTES = 32


@dataclass(frozen=True)
class Sealed:
    """Bytes that one data key opens: a 12-byte nonce and what AES-256-GCM made. ``key`` names the key."""

    key: str
    data: bytes


@dataclass(frozen=True)
class _Held:
    """An unwrapped key, and which file it came from: path, inode, time."""

    name: str
    cipher: AESGCM
    path: str
    file: tuple[int, int]


class DataKeys:
    """The data keys of one home, a file each in ``HOME/people``, wrapped with a key of the home's.

    They are not in the database: a copy of its rows is of no use once the file is destroyed. Safe to share between
    threads; a key that another process destroyed is not used again.
    """

    def __init__(self, folder: Path, keys: Keys, entropy: Entropy) -> None:
        self._keys = keys
        self._folder = folder
        self._entropy = entropy
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._lock = threading.Lock()

    def seal(self, subject: str, about: bytes, data: bytes) -> Sealed:
        """Seal bytes with the subject's key, made on first use; ``about`` must be given again to open them."""
        held = self._find(subject) or self._make(subject)
        nonce = self._entropy(_NONCE_BYTES)
        return Sealed(held.name, nonce + held.cipher.encrypt(nonce, data, about))

    def open(self, subject: str, about: bytes, sealed: Sealed) -> bytes | None:
        """The bytes, or None when the key they were sealed with is destroyed.

        Raises ``audit_tampered`` when they are not what was sealed.
        """
        held = self._find(subject)
        if held is None or held.name != sealed.key:
            return None
        try:
            return held.cipher.decrypt(sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:], about)
        except (InvalidTag, ValueError) as error:
            raise MandamusError(
                Code.AUDIT_TAMPERED,
                f"what is kept about {subject} was changed",
                remedy="`mandamus audit verify` names the row; restore the database from a backup",
            ) from error

    def destroy(self, subject: str) -> bool:
        """Overwrite and delete the subject's key; whether there was one. What it sealed cannot be opened again."""
        path = self._path(subject)
        try:
            fd = os.open(path, os.O_WRONLY)
        except FileNotFoundError:
            return False
        with os.fdopen(fd, "wb") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink(missing_ok=True)
        sync_folder(self._folder)
        with self._lock:
            self._held.pop(subject, None)
        return True

    def _find(self, subject: str) -> _Held | None:
        held = self._held.get(subject)
        path = held.path if held is not None else str(self._path(subject))
        try:
            # Another process may have destroyed it. This look costs a microsecond; reading and unwrapping a hundred.
            status = os.stat(path)  # noqa: PTH116 - a Path costs three times as much
            file = (status.st_ino, status.st_mtime_ns)
            return held if held is not None and held.file == file else self._load(subject, Path(path), file)
        except FileNotFoundError:
            return None

    def _load(self, subject: str, path: Path, file: tuple[int, int]) -> _Held:
        wrapped = path.read_bytes()
        try:
            key = AESGCM(self._keys.key(WRAPPING)).decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], subject.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise MandamusError(
                Code.HOME_INVALID,
                f"key file {path} does not open with this home's key {WRAPPING}",
                remedy="restore the home's keys from one backup",
            ) from error
        made = _Held(_name(key), AESGCM(key), str(path), file)
        with self._lock:
            self._held[subject] = made
            while len(self._held) > HELD_MAX:
                self._held.popitem(last=False)
        return made

    def _make(self, subject: str) -> _Held:
        nonce, path = self._entropy(_NONCE_BYTES), self._path(subject)
        wrapped = AESGCM(self._keys.key(WRAPPING)).encrypt(nonce, self._entropy(_KEY_BYTES), subject.encode())
        make_once(path, nonce + wrapped, self._entropy)
        found = self._find(subject)
        if found is None:
            raise MandamusError(
                Code.CONFLICT,
                f"what is known of {subject} is being erased",
                remedy="try again",
                retryable=True,
            )
        return found

    def _path(self, subject: str) -> Path:
        return self._folder / hashlib.sha256(subject.encode()).hexdigest()[:32]


def _name(key: bytes) -> str:
    return hashlib.sha256(b"mandamus data key\x00" + key).hexdigest()[:16]


def data_keys(home: Path, entropy: Entropy) -> DataKeys:
    """Those of the home in a folder."""
    return DataKeys(home / FOLDER, Keys(home / "keys", entropy), entropy)
