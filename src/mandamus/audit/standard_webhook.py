"""What every webhook of ours is: a CloudEvents 1.0 envelope, signed as Standard Webhooks 1.0 says."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.kernel.clock import rfc3339

SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret begins, none itself
TOLERANCE_S = 300
"""How old, or ahead, a receiver lets a signature be: within it a replay is told by ``webhook-id``."""

CONTENT_TYPE = "application/cloudevents+json"
TYPE_PREFIX = "mandamus."
_KEY_BYTES = (24, 64)


def envelope(leaf: Mapping[str, Any], source: str, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The CloudEvents 1.0 envelope of a decoded leaf, with ``name`` as its id."""
    return {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": TYPE_PREFIX + leaf["kind"],
        "subject": f"{leaf['what']['type']}/{leaf['what']['id']}",
        "time": rfc3339(leaf["at"]),
        "datacontenttype": "application/json",
        "data": data,
    }


def key_of(secret: str) -> bytes:
    """The key of a secret such as ``whsec_`` and base64; raises ``ValueError`` for one that is none."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        # Not chained: the original error may show part of the secret.
        raise ValueError("the secret is not `whsec_` and base64") from None
    if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
        raise ValueError(f"the secret has {len(key)} bytes, not {_KEY_BYTES[0]} to {_KEY_BYTES[1]}")
    return key


def sign(key: bytes, name: str, at_s: int, body: bytes) -> str:
    """``webhook-signature``: version 1 is HMAC-SHA256 over id, time and body with dots between."""
    made = hmac.digest(key, f"{name}.{at_s}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(made).decode()}"


def signed(keys: Sequence[bytes], name: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers of a message, signed with each key: while a secret is replaced a receiver knows one of two."""
    return {
        "Content-Type": CONTENT_TYPE,
        "webhook-id": name,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(sign(key, name, at_s, body) for key in keys),
    }


def genuine(key: bytes, headers: Mapping[str, str], body: bytes, now_s: int) -> bool:
    """Whether a message is signed with the key and not older than the tolerance, for receivers in Python."""
    name, stamp, given = (headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not (stamp.isascii() and stamp.isdigit()) or abs(now_s - int(stamp)) > TOLERANCE_S:
        return False
    wanted = sign(key, name, int(stamp), body).encode()
    return any(hmac.compare_digest(wanted, each.encode()) for each in given.split())
