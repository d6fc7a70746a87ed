"""Signed envelopes as supply-chain tools read them (DSSE v1), and the in-toto statements that travel in them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.audit.signer import Signer, Verifier
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"

_FIELDS = {"payload", "payloadType", "signatures"}


def statement(kind: str, subject: Sequence[Mapping[str, Any]], predicate: Mapping[str, Any]) -> bytes:
    """An in-toto statement v1 of the predicate type ``kind``, canonical."""
    return canonical.dumps({"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate})


def sign(payload_type: str, payload: bytes, signer: Signer) -> bytes:
    """The envelope, canonical; ``keyid`` is the signer's key id in hex."""
    signature = signer.sign(_pae(payload_type, payload))
    return canonical.dumps(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def read(data: bytes, payload_type: str) -> bytes:
    """The payload, nothing verified; raises ``ValueError`` when this is no envelope of the type in its one spelling."""
    payload, _ = _parts(data, payload_type)
    return payload


def verify(data: bytes, payload_type: str, verifier: Verifier) -> bytes:
    """The payload that the key signed; raises ``ValueError`` with what is wrong."""
    payload, (key_id, signature) = _parts(data, payload_type)
    if key_id != verifier.key_id.hex():
        raise ValueError(f"it carries no signature by {verifier.vkey}")
    if not verifier.verify(signature, _pae(payload_type, payload)):
        raise ValueError(f"the signature by {verifier.name} does not fit what it signs")
    return payload


def _parts(data: bytes, payload_type: str) -> tuple[bytes, tuple[str, bytes]]:
    try:
        envelope = canonical.loads(data)
        if not isinstance(envelope, dict) or envelope.keys() != _FIELDS or canonical.dumps(envelope) != data:
            raise ValueError("it is no DSSE envelope in canonical form")
        if envelope["payloadType"] != payload_type:
            raise ValueError(f"its payload is no {payload_type}")
        (signature,) = envelope["signatures"]
        if signature.keys() != {"keyid", "sig"}:
            raise ValueError("its signature has other fields than keyid and sig")
        return _base64(envelope["payload"]), (signature["keyid"], _base64(signature["sig"]))
    except MandamusError as error:
        raise ValueError(error.message) from error
    except (TypeError, AttributeError) as error:
        raise ValueError("it is no DSSE envelope with one signature") from error


def _base64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    # Base64 leaves spare bits in its last character; only the one canonical spelling may pass.
    if base64.b64encode(raw).decode() != text:
        raise ValueError("a value is not canonical base64")
    return raw


def _pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of DSSE v1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
