"""Gives queued events their place in the tree and signs the new head: one algorithm on both databases."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from mandamus.audit import note, proof, store, tree
from mandamus.audit.keyring import Keyring
from mandamus.audit.model import Checkpoint
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Tx

BATCH_MAX = 4_000
"""Events per integration; a longer queue takes several, so that no transaction grows without bound."""


@dataclass(frozen=True)
class Integrated:
    """What one integration did: the newest checkpoint and what became new with it.

    ``first`` is the index of the first of ``leaves``; ``nodes`` are ``(tile level, index, hash)`` of level 0 and up;
    ``more`` says that the queue may hold further events.
    """

    checkpoint: Checkpoint | None
    first: int
    leaves: tuple[bytes, ...]
    nodes: tuple[tuple[int, int, bytes], ...]
    more: bool


class Integrator:
    """Any number may run, in any number of processes: the head row lets one at a time through."""

    def __init__(self, keys: Keyring, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._frontier = tree.Frontier()
        self._agreed: Checkpoint | None = None

    def integrate(self, tx: Tx, published: Checkpoint | None) -> Integrated:
        """Integrate what is queued, in the caller's transaction; nothing leaves it before the commit.

        1. Lock the head row. On SQLite the write lock already does it.
        2. Refuse when the published checkpoint is not of this history: then the database was rolled back or changed.
        3. Take the queued events. Only commits that happened are visible, so ids may have gaps and come late; the
           order of taking, not the id, is the leaf index, and it is dense.
        4. Append their leaf hashes to the tree.
        5. Sign the new head, with every key the log names for it, and write it with the leaves. The size is the
           primary key, so even a second integrator that ignored the lock could never give one size two roots.
        """
        name = self._keys.name
        size, root, origin = store.lock_head(tx.conn, name)
        refuse_other(name, origin)
        self._refuse_foreign(tx.conn, size, published)
        taken = store.take_queue(tx.conn, BATCH_MAX)
        if not taken:
            return Integrated(store.newest_checkpoint(tx.conn, name), size, (), (), more=False)
        frontier = self._load(tx.conn, size, root)
        done = [entry for _, leaf in taken for entry in frontier.append(tree.leaf_hash(leaf))]
        hashes = [hashed for level, _, hashed in done if level == 0]
        places = enumerate(zip(taken, hashes, strict=True), start=size)
        rows = [(index, event_id, hashed) for index, ((event_id, _), hashed) in places]
        checkpoint = note.sign_checkpoint(self._keys.signers(tx.conn), frontier.size, frontier.root())
        store.insert_leaves(tx.conn, rows)
        self._keys.refresh(tx.conn)
        store.insert_nodes(tx.conn, [entry for entry in done if entry[0] > 0])
        store.move_head(tx.conn, checkpoint, self._clock.now_us())

        def keep() -> None:
            self._frontier = frontier

        tx.after_commit(keep)
        leaves = tuple(leaf for _, leaf in taken)
        return Integrated(checkpoint, size, leaves, tuple(done), more=len(taken) == BATCH_MAX)

    def agree(self, published: Checkpoint) -> None:
        """Take note of a checkpoint that this process signed and published itself."""
        self._agreed = published

    def _refuse_foreign(self, conn: sa.Connection, size: int, published: Checkpoint | None) -> None:
        if published is None or published == self._agreed:
            return
        if published.size > size:
            raise MandamusError(
                Code.AUDIT_TAMPERED,
                f"the database's log has {size} leaves, the published checkpoint has {published.size}: "
                "the database is older than what was published",
                remedy="restore the newest database; to go on from this one: `mandamus audit new-epoch --reason TEXT`",
                context={"database_size": size, "published_size": published.size},
            )
        known = store.checkpoint_at(conn, published.size, self._keys.name)
        if known is None or known.root != published.root:
            raise MandamusError(
                Code.AUDIT_TAMPERED,
                f"the published checkpoint of size {published.size} is not one this database signed: "
                "there are two histories",
                remedy="find out which copy was changed: `mandamus audit verify` names the leaf",
                context={"published_size": published.size},
            )
        self._agreed = published

    def _load(self, conn: sa.Connection, size: int, root: bytes) -> tree.Frontier:
        if self._frontier.size == size and (size == 0 or self._frontier.root() == root):
            return self._frontier.copy()
        frontier = load_frontier(conn, size)
        if frontier.root() != root:
            raise MandamusError(
                Code.AUDIT_TAMPERED,
                f"the tree of {size} leaves in the database does not have the root its head names",
                remedy="`mandamus doctor` names the row; restore the database from a backup",
                context={"size": size},
            )
        return frontier


def refuse_other(name: str, origin: str) -> None:
    """Raise ``audit_untrusted`` when the database's tree is not of the log with this name."""
    if origin != name:
        raise MandamusError(
            Code.AUDIT_UNTRUSTED,
            f"this database goes on with the log {origin}, and the home with {name}",
            remedy="end this process and start it again; when that does not help, restore the database that belongs "
            "to this home, or call `mandamus audit new-epoch --reason TEXT` again",
            context={"origin": origin},
        )


def earlier_head(conn: sa.Connection, keys: Keyring, size: int) -> Checkpoint:
    """The head of the tree as it was with so many leaves, signed; it is published nowhere.

    Raises ``audit_tampered`` when the tree of today does not continue it, and what a key that is missing raises.
    """
    known = store.checkpoint_at(conn, size, keys.name)
    if known is not None:
        return known
    head = note.sign_checkpoint(keys.signers(conn), size, load_frontier(conn, size).root())
    now, root = store.read_head(conn)
    subtree = proof.subtrees(lambda level, low, high: store.hashes(conn, level, low, high))
    if not tree.verify_consistency(size, now, head.root, root, tree.consistency_proof(size, now, subtree)):
        raise MandamusError(
            Code.AUDIT_TAMPERED,
            f"the tree of {now} leaves in the database does not continue that of {size}",
            remedy="`mandamus doctor` names the row; restore the database from a backup",
            context={"size": size},
        )
    return note.read_checkpoint(head.note, keys.refresh(conn).trust)


def load_frontier(conn: sa.Connection, size: int) -> tree.Frontier:
    """The right edge of the stored tree of that size."""
    roots: list[bytes] = []
    level = 0
    while size >> 8 * level:
        width = size >> 8 * level
        low = width - width % 256
        roots = tree.compact(store.hashes(conn, level, low, width)) + roots
        level += 1
    if len(roots) != size.bit_count():
        raise MandamusError(
            Code.AUDIT_TAMPERED,
            f"rows of the tree of {size} leaves are missing from the database",
            remedy="`mandamus doctor` names them; restore the database from a backup",
            context={"size": size},
        )
    return tree.Frontier(size, roots)
