"""Cosignatures of witnesses (C2SP tlog-cosignature, type 0x04: Ed25519 with a time), and their keys as text."""

from __future__ import annotations

from mandamus.audit import note
from mandamus.audit.note import Note, Signature
from mandamus.audit.signer import NamedKey, Signer, Verifier
from mandamus.kernel.errors import Code, MandamusError

_TIME_BYTES = 8
_SIGNATURE_BYTES = 64


class Cosigner(NamedKey):
    """A witness's named public key."""

    use = b"\x04"

    def cosigned(self, signed: Note) -> tuple[int, Signature] | None:
        """When this key cosigned the note (seconds since 1970) and by which signature; None when it did not.

        A line of this key that does not fit counts for nothing, like a line of a key nobody knows.
        """
        for signature in signed.signatures:
            if (signature.name, signature.key_id) != (self.name, self.key_id):
                continue
            if len(signature.signature) != _TIME_BYTES + _SIGNATURE_BYTES:
                continue
            at_s = int.from_bytes(signature.signature[:_TIME_BYTES], "big")
            made = signature.signature[_TIME_BYTES:]
            if at_s < 1 << 63 and Verifier(self.name, self.public).verify(made, _message(at_s, signed.text)):
                return at_s, signature
        return None


def cosign(signer: Signer, text: str, at_s: int) -> str:
    """The signature line by which a witness says that it saw the checkpoint ``text`` at that second since 1970."""
    signature = at_s.to_bytes(_TIME_BYTES, "big") + signer.sign(_message(at_s, text))
    key_id = Cosigner(signer.name, signer.verifier.public).key_id
    return note.line(Signature(signer.name, key_id, signature))


def parse_cosigner(text: str) -> Cosigner:
    """The witness key a text names; raises ``audit_untrusted`` when it is not an Ed25519 cosignature key."""
    cosigner = Cosigner.parsed(text)
    if cosigner is not None:
        return cosigner
    raise MandamusError(
        Code.AUDIT_UNTRUSTED,
        f"{text.strip()[:120]!r} is not the key of a witness",
        remedy="give the key that the witness prints when it starts: name+8 hex digits+base64, of the type 0x04",
    )


def _message(at_s: int, text: str) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()
