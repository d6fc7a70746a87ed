"""Self-contained inclusion proofs (C2SP tlog-proof): index, path and checkpoint in one small text."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mandamus.audit import note, tiles, tree
from mandamus.audit.model import Checkpoint
from mandamus.audit.signer import Verifier
from mandamus.audit.trust import Trust
from mandamus.kernel.errors import Code, MandamusError

_FIRST_LINE = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Proof:
    """A parsed proof, nothing verified yet; ``checkpoint`` is the signed note inside it."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes


def write(index: int, path: Sequence[bytes], checkpoint: Checkpoint) -> bytes:
    """The proof as text; ``path`` starts with the leaf's sibling."""
    lines = [_FIRST_LINE, f"index {index}", *(base64.b64encode(item).decode() for item in path), ""]
    return "\n".join(lines).encode() + b"\n" + checkpoint.note


def parse(data: bytes) -> Proof:
    """Take a proof apart; raises ``audit_tampered`` when it is not one. Extra data is refused: we never write any."""
    head, blank, rest = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
        path = tuple(base64.b64decode(line, validate=True) for line in lines[2:])
        word, _, index = lines[1].partition(" ")
        number = int(index)
    except (UnicodeDecodeError, binascii.Error, ValueError, IndexError) as error:
        raise _malformed() from error
    proof = Proof(number, path, rest)
    canonical = "\n".join([_FIRST_LINE, f"index {number}", *(base64.b64encode(item).decode() for item in path)])
    if not blank or word != "index" or number < 0 or canonical.encode() != head or {len(each) for each in path} - {32}:
        raise _malformed()
    return proof


def verify(proof: Proof, leaf: bytes, root: Verifier | Trust) -> Checkpoint:
    """The checkpoint, once the proof shows the leaf in it.

    Raises ``audit_tampered`` when the leaf is not the one at that index, else as ``note.read_checkpoint`` does.
    """
    checkpoint = note.read_checkpoint(proof.checkpoint, root)
    if not includes(checkpoint, proof, leaf):
        raise MandamusError(
            Code.AUDIT_TAMPERED,
            f"the bytes are not those of leaf {proof.index} in the signed tree of {checkpoint.size} leaves",
            remedy="the leaf or its proof was changed; compare with a copy kept elsewhere",
            context={"leaf": proof.index},
        )
    return checkpoint


def includes(checkpoint: Checkpoint, proof: Proof, leaf: bytes) -> bool:
    """Whether a checkpoint that is already trusted has this leaf at the proof's index."""
    return tree.verify_inclusion(proof.index, checkpoint.size, tree.leaf_hash(leaf), proof.path, checkpoint.root)


def subtrees(hashes: Callable[[int, int, int], list[bytes]]) -> tree.Subtree:
    """Roots of complete subtrees from a reader of tile levels ``(level, low, high) -> hashes``.

    Each tile is read once and each root computed once, so many proofs cost few reads.
    """
    read: dict[tuple[int, int], list[bytes]] = {}
    roots: dict[tuple[int, int], bytes] = {}

    def subtree(low: int, high: int) -> bytes:
        if (low, high) not in roots:
            level = ((high - low).bit_length() - 1) // 8
            first, end = low >> 8 * level, high >> 8 * level
            number = first // tiles.WIDTH
            if (level, number) not in read:
                read[level, number] = hashes(level, number * tiles.WIDTH, (number + 1) * tiles.WIDTH)
            start = first - number * tiles.WIDTH
            roots[low, high] = tree.root_of(read[level, number][start : start + end - first])
        return roots[low, high]

    return subtree


def _malformed() -> MandamusError:
    return MandamusError(
        Code.AUDIT_TAMPERED,
        "not an inclusion proof",
        remedy="the file was changed or cut short; compare with a copy kept elsewhere",
    )
