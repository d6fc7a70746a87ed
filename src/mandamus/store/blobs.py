"""The blob store: bytes under their SHA-256, encrypted at rest with AES-256-GCM."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, Entropy, is_digest
from mandamus.store.keys import Keys, sync_folder

_NONCE_BYTES = 12


class Blobs:
    """Immutable bytes by digest in ``folder/ab/<hex>``; a blob is written before the row that names it commits."""

    def __init__(self, folder: Path, keys: Keys, entropy: Entropy) -> None:
        self._folder = folder
        self._keys = keys
        self._entropy = entropy
        self._known: set[Digest] = set()

    def put(self, data: bytes) -> Digest:
        """Store the bytes durably and return their digest; storing the same bytes again is free."""
        digest = canonical.digest(data)
        if digest in self._known:
            return digest
        path = self._path(digest)
        if not path.exists():
            self._write(path, self._seal(digest, data))
        self._known.add(digest)
        return digest

    def get(self, digest: Digest) -> bytes:
        """The bytes; raises ``blob_missing``, or ``blob_corrupt`` when they are not what the digest says."""
        try:
            sealed = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise MandamusError(
                Code.BLOB_MISSING,
                f"blob {digest} is not in {self._folder}",
                remedy="restore the home from a backup; `mandamus doctor` lists what is missing",
                context={"digest": digest},
            ) from error
        data = self._open(digest, sealed)
        if canonical.digest(data) != digest:
            raise _corrupt(digest)
        return data

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there (its bytes are not checked)."""
        return self._path(digest).exists()

    def _path(self, digest: Digest) -> Path:
        if not is_digest(digest):
            raise MandamusError(
                Code.ID_INVALID, f"{digest[:80]!r} is not a digest", remedy="give sha256: and 64 hex digits"
            )
        name = digest.removeprefix("sha256:")
        return self._folder / name[:2] / name

    def _seal(self, digest: Digest, data: bytes) -> bytes:
        nonce = self._entropy(_NONCE_BYTES)
        return nonce + AESGCM(self._keys.key("blobs")).encrypt(nonce, data, digest.encode())

    def _open(self, digest: Digest, sealed: bytes) -> bytes:
        try:
            return AESGCM(self._keys.key("blobs")).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], digest.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise _corrupt(digest) from error

    def _write(self, path: Path, sealed: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f".{self._entropy(8).hex()}.partial")
        try:
            with partial.open("xb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise MandamusError(
                Code.STORAGE_FULL,
                f"could not write to the blob store: {error.strerror}",
                remedy="free space on the disk that holds the home, then try again",
                retryable=True,
            ) from error


def _corrupt(digest: Digest) -> MandamusError:
    return MandamusError(
        Code.BLOB_CORRUPT,
        f"blob {digest} does not hold the bytes its digest names",
        remedy="restore the blob from a backup; do not apply anything that names it",
        context={"digest": digest},
    )
