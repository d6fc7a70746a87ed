"""Ed25519 keys with names: the one signer of the log and of the platform, and the verifier keys that travel as text.

The text form and the key id are those of C2SP signed-note (algorithm byte 0x01, Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mandamus.kernel.errors import Code, MandamusError

_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_VKEY = re.compile(r"([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{4,64})")


@dataclass(frozen=True)
class NamedKey:
    """A public Ed25519 key with a name and a use. ``key_id`` is SHA-256(name, newline, use, key), its first 4 bytes."""

    name: str
    public: bytes
    use: ClassVar[bytes]
    """The algorithm byte of C2SP signed-note."""

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a signature names its key."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.use + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """``name+hex key id+base64 key``: as a person keeps a trust root, and a policy file names a witness."""
        key = base64.b64encode(self.use + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parsed(cls, text: str) -> Self | None:
        """The key a text names, when it is one of this use."""
        found = _VKEY.fullmatch(text.strip())
        if not found:
            return None
        try:
            raw = base64.b64decode(found[3], validate=True)
        except binascii.Error:
            return None
        key = cls(found[1], raw[1:])
        return key if len(raw) == 33 and raw[:1] == cls.use and key.key_id.hex() == found[2] else None


class Verifier(NamedKey):
    """A key that signs notes, and whatever else the platform signs."""

    use = b"\x01"

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether this key made the 64-byte signature over exactly these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


class PrivateKey(Protocol):
    """An Ed25519 key that signs, wherever it is kept; ``public`` is 32 bytes, a signature 64 (RFC 8032)."""

    @property
    def public(self) -> bytes:
        """The public key."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The signature over the bytes; raises ``audit_unavailable`` when it cannot be had now."""
        ...


class SeedKey:
    """A key in this process's memory, made from its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The signature over the bytes."""
        return self._key.sign(data)


class Signer:
    """A named private key: a 32-byte seed, or a key that is kept elsewhere."""

    def __init__(self, name: str, key: bytes | PrivateKey) -> None:
        if not _NAME.fullmatch(name):
            raise MandamusError(
                Code.VALUE_INVALID,
                f"{name[:80]!r} cannot name a key",
                remedy="use a name such as example.com/log: up to 255 characters, no white space, no plus sign",
            )
        self._key: PrivateKey = SeedKey(key) if isinstance(key, bytes) else key
        self.verifier = Verifier(name, self._key.public)

    @property
    def name(self) -> str:
        """The key's name; for the log's key it is the log's origin."""
        return self.verifier.name

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return self.verifier.vkey

    @property
    def key_id(self) -> str:
        """Eight hex digits that name the key beside a signature."""
        return self.verifier.key_id.hex()

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature (RFC 8032) over the bytes."""
        return self._key.sign(data)


def parse_vkey(text: str) -> Verifier:
    """The key a text names; raises ``audit_untrusted`` when the text is not an Ed25519 verifier key."""
    verifier = Verifier.parsed(text)
    if verifier is not None:
        return verifier
    raise MandamusError(
        Code.AUDIT_UNTRUSTED,
        f"{text.strip()[:120]!r} is not a verifier key",
        remedy="give the content of the log's log.vkey file, obtained from someone you trust: name+8 hex digits+base64",
    )
