"""Signed notes (C2SP signed-note) and the checkpoints written in them (C2SP tlog-checkpoint)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from mandamus.audit.model import Checkpoint
from mandamus.audit.signer import Signer, Verifier
from mandamus.audit.trust import Trust, trust_in
from mandamus.kernel.errors import Code, MandamusError

NOTE_BYTES_MAX = 256 * 1024
"""Room for more than the 16 signatures that must be taken (C2SP signed-note), each of them a large one."""

_SIZE_DIGITS_MAX = 18
_SIGNATURE_MARK = "\N{EM DASH} "


@dataclass(frozen=True)
class Signature:
    """One signature line: the signer's name, four bytes of key id, the signature itself."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A text and its signature lines, nothing verified yet. ``text`` ends with a newline."""

    text: str
    signatures: tuple[Signature, ...]


def sign(text: str, *signers: Signer) -> bytes:
    """The note with one signature line per signer; ``text`` must end with a newline."""
    if not text.endswith("\n"):
        raise ValueError("a note's text ends with a newline")
    lines = [_signature_line(signer, text.encode()) for signer in signers]
    return (text + "\n" + "".join(lines)).encode()


def parse(data: bytes) -> Note:
    """Take a note apart; raises ``audit_tampered`` when the bytes are not a signed note."""
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise _malformed("it is not UTF-8") from error
    if len(data) > NOTE_BYTES_MAX or any(ord(c) < 0x20 and c != "\n" for c in whole):
        raise _malformed("it is too long or holds control characters")
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise _malformed("it has no signature block")
    return Note(text + "\n", tuple(_parse_line(line) for line in tail[:-1].split("\n")))


def verify(data: bytes, verifier: Verifier) -> str:
    """The note's text, once the verifier's key is known to have signed it.

    Raises ``audit_tampered`` (not a note, or the key's signature does not fit the text) or ``audit_untrusted`` (no
    signature by this key at all).
    """
    note = parse(data)
    if not _signed(note, verifier):
        raise _unsigned(note, verifier.vkey)
    return note.text


def _signed(note: Note, verifier: Verifier) -> bool:
    """Whether the key signed the note; raises ``audit_tampered`` when its signature does not fit the text."""
    mine = [s for s in note.signatures if s.name == verifier.name and s.key_id == verifier.key_id]
    if mine and (len(mine) > 1 or not verifier.verify(mine[0].signature, note.text.encode())):
        raise MandamusError(
            Code.AUDIT_TAMPERED,
            f"the signature by {verifier.name} does not fit the note's text",
            remedy="the text or the signature was changed; compare with a copy kept elsewhere",
        )
    return bool(mine)


def _unsigned(note: Note, vkeys: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_UNTRUSTED,
        f"the note carries no signature by {vkeys}",
        remedy="check that the trust file belongs to this log; a log of another key proves nothing to you",
        context={"signers": [s.name for s in note.signatures]},
    )


def sign_checkpoint(signers: Signer | Sequence[Signer], size: int, root: bytes) -> Checkpoint:
    """A signed tree head, by several keys while one replaces another; the origin is the signers' name."""
    signers = (signers,) if isinstance(signers, Signer) else tuple(signers)
    name = signers[-1].name
    text = f"{name}\n{size}\n{base64.b64encode(root).decode()}\n"
    return Checkpoint(name, size, root, sign(text, *signers))


def read_checkpoint(data: bytes, root: Verifier | Trust) -> Checkpoint:
    """A checkpoint that a trusted key of its log signed, at a size that is in the key's time.

    Every signature by a trusted key must fit, and one is enough. Raises ``audit_tampered`` and ``audit_untrusted``.
    """
    note, trust = parse(data), trust_in(root)
    mine = [key for key in trust.keys if _signed(note, key.verifier)]
    if not mine:
        raise _unsigned(note, " or ".join(key.verifier.vkey for key in trust.keys))
    checkpoint = head(note.text, data)
    ours = [key for key in mine if key.verifier.name == checkpoint.origin]
    if not ours:
        raise MandamusError(
            Code.AUDIT_UNTRUSTED,
            f"the checkpoint is of the log {checkpoint.origin!r}, the trusted key is of {mine[0].verifier.name!r}",
            remedy="use the trust file of this log",
        )
    if not any(key.covers(checkpoint.size) for key in ours):
        raise MandamusError(
            Code.AUDIT_UNTRUSTED,
            f"the checkpoint has {checkpoint.size} leaves, and its key is not trusted for that size: {ours[0]}",
            remedy="the log went on with another key: get its present log.vkey from someone you trust",
            context={"size": checkpoint.size},
        )
    return checkpoint


def head(text: str, data: bytes) -> Checkpoint:
    """What the text of a note says as a checkpoint, nothing verified; ``data`` is the whole note."""
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines) or not _is_number(lines[1]):
        raise _malformed("it is not origin, size and root")
    root = _base64(lines[2])
    if len(root) != 32:
        raise _malformed("its root is not 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root, data)


def _is_number(text: str) -> bool:
    """Whether it is a size in its one spelling: ASCII digits, no zero before others."""
    return text.isascii() and text.isdigit() and len(text) <= _SIZE_DIGITS_MAX and str(int(text)) == text


def _signature_line(signer: Signer, text: bytes) -> str:
    return line(Signature(signer.name, signer.verifier.key_id, signer.sign(text)))


def line(signature: Signature) -> str:
    """A signature as it stands in a note."""
    blob = base64.b64encode(signature.key_id + signature.signature).decode()
    return f"{_SIGNATURE_MARK}{signature.name} {blob}\n"


def _parse_line(line: str) -> Signature:
    name, space, blob = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    if not line.startswith(_SIGNATURE_MARK) or not space or not _names_a_key(name):
        raise _malformed("a signature line is malformed")
    raw = _base64(blob)
    if len(raw) < 5:
        raise _malformed("a signature is too short")
    return Signature(name, raw[:4], raw[4:])


def _names_a_key(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


def _base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("a value is not base64") from error
    # Base64 leaves spare bits in its last character; only the one canonical spelling may pass, so that no byte of a
    # note can change unnoticed.
    if base64.b64encode(raw).decode() != text:
        raise _malformed("a value is not canonical base64")
    return raw


def _malformed(why: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_TAMPERED,
        f"not a signed note: {why}",
        remedy="the file was changed or cut short; compare with a copy kept elsewhere",
    )
