"""Makes proofs from a published log's files, as anybody can who has them; each is verified before it is given out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from mandamus.audit import note, proof, tiles, tree
from mandamus.audit.model import Checkpoint
from mandamus.audit.source import SMALL_BYTES_MAX, Source, read_tile
from mandamus.audit.trust import Trust
from mandamus.kernel.errors import Code, MandamusError

_CONSISTENCY = "consistency/1"


@dataclass(frozen=True)
class Inclusion:
    """A leaf, and the proof (C2SP tlog-proof) that it has its index in the tree of the checkpoint."""

    index: int
    leaf: bytes
    proof: bytes
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Consistency:
    """That the tree of ``old`` leaves is a prefix of that of ``new`` leaves; ``path`` is that of RFC 6962."""

    old: int
    old_root: bytes
    new: int
    new_root: bytes
    path: tuple[bytes, ...]

    def text(self) -> bytes:
        """As a file: a line that names the form, both sizes with their roots, and a hash on each further line."""
        heads = [f"old {self.old} {_base64(self.old_root)}", f"new {self.new} {_base64(self.new_root)}"]
        return "".join(f"{line}\n" for line in (_CONSISTENCY, *heads, *map(_base64, self.path))).encode()


def read_head(source: Source, trust: Trust) -> Checkpoint:
    """The log's newest checkpoint; raises ``audit_incomplete``, ``audit_tampered`` and ``audit_untrusted``."""
    data = source.read("checkpoint", SMALL_BYTES_MAX)
    if data is None:
        raise MandamusError(
            Code.AUDIT_INCOMPLETE,
            "the log has no checkpoint that can be read",
            remedy="name the folder or the address that holds the file `checkpoint`",
        )
    return note.read_checkpoint(data, trust)


def prove(source: Source, trust: Trust, index: int) -> Inclusion:
    """The leaf of that index and its proof against the newest checkpoint.

    Raises ``not_found`` for an index the log has not reached, and as `read_head` when the log is not sound there.
    """
    head = read_head(source, trust)
    if not 0 <= index < head.size:
        raise MandamusError(
            Code.NOT_FOUND,
            f"the log has no leaf {index}: it has {head.size}, counted from 0",
            remedy="give an index below the size of the newest checkpoint",
            context={"index": index, "size": head.size},
        )
    path = tree.inclusion_proof(index, head.size, _subtree(source, head.size))
    made = proof.write(index, path, head)
    leaf = _leaf(source, index, head.size)
    if not proof.includes(head, proof.parse(made), leaf):
        raise _broken(f"leaf {index} and the hashes beside it do not give the root that the checkpoint signs")
    return Inclusion(index, leaf, made, head)


def consistency(source: Source, trust: Trust, old: int, new: int) -> Consistency:
    """The proof between two sizes of the log, neither larger than its newest checkpoint; both roots are computed.

    Raises ``not_found`` for sizes the log does not have, and as `read_head` when the log is not sound there.
    """
    head = read_head(source, trust)
    if not 0 <= old <= new <= head.size:
        raise MandamusError(
            Code.NOT_FOUND,
            f"{old} and {new} are not two sizes, the older first, of a log that has {head.size} leaves",
            remedy="give two sizes up to that of the newest checkpoint, the smaller one first",
            context={"old": old, "new": new, "size": head.size},
        )
    subtree = _subtree(source, head.size)
    roots = [tree.frontier(size, subtree).root() for size in (old, new)]
    path = tuple(tree.consistency_proof(old, new, subtree))
    upwards = tree.consistency_proof(new, head.size, subtree)
    made = Consistency(old, roots[0], new, roots[1], path)
    if not holds(made) or not tree.verify_consistency(new, head.size, roots[1], head.root, upwards):
        raise _broken(f"the hashes of the tree of {new} leaves do not lead to the root that the checkpoint signs")
    return made


def holds(made: Consistency) -> bool:
    """Whether the proof proves what it says."""
    return tree.verify_consistency(made.old, made.new, made.old_root, made.new_root, made.path)


def _subtree(source: Source, size: int) -> tree.Subtree:
    return proof.subtrees(_reader(source, size))


def _reader(source: Source, size: int) -> Callable[[int, int, int], list[bytes]]:
    def hashes(level: int, low: int, high: int) -> list[bytes]:
        tile = tiles.Tile(level, low // tiles.WIDTH, min(high, size >> 8 * level) - low)
        data = read_tile(source, tile)
        if data is None:
            raise _missing(tile)
        if len(data) != tile.width * tiles.HASH_BYTES:
            raise _broken(f"{tile.path} holds {len(data)} bytes, not {tile.width} hashes")
        return tiles.split_hashes(data)

    return hashes


def _leaf(source: Source, index: int, size: int) -> bytes:
    tile = tiles.bundle_of(index, size)
    data = read_tile(source, tile)
    if data is None:
        raise _missing(tile)
    leaves, _ = tiles.scan_bundle(data)
    if len(leaves) <= index - tile.low:
        raise _broken(f"{tile.path} holds {len(leaves)} entries, not {tile.width}")
    return leaves[index - tile.low]


def _missing(tile: tiles.Tile) -> MandamusError:
    return MandamusError(
        Code.AUDIT_INCOMPLETE,
        f"{tile.path} is missing or cannot be read",
        remedy="get the whole of the log again; `mandamus audit verify --log` says whether these entries are pruned",
        context={"file": tile.path},
    )


def _broken(why: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_TAMPERED, why, remedy="`mandamus audit verify --log` names what was changed in this copy"
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
