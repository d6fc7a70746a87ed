"""What a witness decides (C2SP tlog-witness, add-checkpoint), pure: request and memory in, a word out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from mandamus.audit import note, tree
from mandamus.audit.model import Checkpoint
from mandamus.audit.trust import Trust
from mandamus.kernel.errors import MandamusError

PROOF_LINES_MAX = 63
_SIZE_DIGITS_MAX = 19
_HASH_BYTES = 32


@dataclass(frozen=True)
class Seen:
    """The newest tree of a log that a witness cosigned; without one, the empty tree."""

    size: int = 0
    root: bytes = tree.EMPTY_ROOT


@dataclass(frozen=True)
class Request:
    """What a log asks: cosign ``checkpoint`` (a signed note, nothing verified), which continues the tree ``old``."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    @property
    def body(self) -> bytes:
        """As it travels."""
        lines = [f"old {self.old}", *(base64.b64encode(each).decode() for each in self.proof), ""]
        return "\n".join(lines).encode() + b"\n" + self.checkpoint


class Refusal(Exception):  # noqa: N818 - an answer of the protocol, not an error of ours
    """An answer without a cosignature: the HTTP status, and in words why.

    ``size`` is set where the answer is the size of the newest tree that the witness knows.
    """

    def __init__(self, status: int, why: str, size: int | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.size = size


def parse_request(body: bytes) -> Request:
    """The request in a body; raises `Refusal` (400)."""
    head, blank, checkpoint = body.partition(b"\n\n")
    lines = head.split(b"\n")
    old = _size(lines[0].removeprefix(b"old ")) if lines[0].startswith(b"old ") else None
    if not blank or old is None:
        raise Refusal(400, "the body does not begin with an old size, proof lines and an empty line")
    if len(lines) - 1 > PROOF_LINES_MAX:
        raise Refusal(400, f"more than {PROOF_LINES_MAX} proof lines")
    return Request(old, tuple(_hash(line) for line in lines[1:]), checkpoint)


def judge(request: Request, logs: Mapping[str, Trust], seen: Mapping[str, Seen]) -> Checkpoint:
    """The checkpoint that is to be remembered and cosigned; raises `Refusal` with the status that the protocol names.

    ``logs`` are the trusted keys by origin, ``seen`` the newest cosigned trees. The caller holds ``seen`` still until
    it has written the answer down: between the two nobody else may be judged.
    """
    try:
        parsed = note.parse(request.checkpoint)
        head = note.head(parsed.text, request.checkpoint)
    except MandamusError as error:
        raise Refusal(400, error.message) from error
    if head.origin not in logs:
        raise Refusal(404, f"this witness does not know the log {head.origin[:80]!r}")
    try:
        note.read_checkpoint(request.checkpoint, logs[head.origin])
    except MandamusError as error:
        raise Refusal(403, error.message) from error
    if request.old > head.size:
        raise Refusal(400, f"the old size {request.old} is greater than the checkpoint's {head.size}")
    newest = seen.get(head.origin, Seen())
    if request.old != newest.size:
        raise Refusal(409, f"the newest tree this witness saw has {newest.size} leaves", newest.size)
    if request.old == head.size and newest.root != head.root:
        raise Refusal(409, f"this witness saw another tree of {newest.size} leaves", newest.size)
    if not tree.verify_consistency(newest.size, head.size, newest.root, head.root, request.proof):
        raise Refusal(422, f"the checkpoint is not shown to continue the tree of {newest.size} leaves")
    return head


def _size(text: bytes) -> int | None:
    """A decimal number without leading zeroes."""
    if not text.isdigit() or len(text) > _SIZE_DIGITS_MAX or (text != b"0" and text.startswith(b"0")):
        return None
    return int(text)


def parse_size(body: bytes) -> int | None:
    """The size in an answer of the type ``text/x.tlog.size``, or None when there is none."""
    return _size(body.removesuffix(b"\n"))


def _hash(line: bytes) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _HASH_BYTES or base64.b64encode(raw) != line:
        raise Refusal(400, "a proof line is not the base64 of a hash")
    return raw
