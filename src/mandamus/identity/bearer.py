"""What people and programs show to come in: a secret of which only the hash is kept, and whom it lets in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from mandamus.kernel.access import Subject

SubjectOf = Callable[[str], Subject | None]
"""The Subject of an active user with all they may, or None."""

USED_EVERY_US = 60 * 1_000_000
"""How exact it is when something was last shown: no request waits for a commit that tells what the one before told."""


def hashed(secret: str) -> bytes:
    """A plain SHA-256 is enough for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).digest()
