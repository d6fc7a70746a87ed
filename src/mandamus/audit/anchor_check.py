"""Compares the log with the checkpoints that its anchors hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from mandamus.audit import anchor_store, note, proof, store, tree
from mandamus.audit.anchor import Anchor, Kept
from mandamus.audit.model import Finding, Report, Verdict
from mandamus.audit.trust import Trust
from mandamus.audit.verify import verdict_of
from mandamus.kernel.errors import Code, MandamusError


@dataclass(frozen=True)
class Named:
    """An anchor of a home, by its name in ``anchors.yaml``; due again after ``every_s``."""

    name: str
    every_s: float
    anchor: Anchor


def compare(conn: sa.Connection, trust: Trust, anchors: Sequence[Named]) -> Report:
    """What does not fit between the tree in the database and the anchors; findings never raise."""
    size, _ = store.read_head(conn)
    check = _Check(conn, trust, size)
    problems = [problem for named in anchors for problem in check.anchor(named)]
    return Report(size, tuple(problems), trust.name)


class _Check:
    """Compares what anchors hold with the tree in the database."""

    def __init__(self, conn: sa.Connection, trust: Trust, size: int) -> None:
        self._conn = conn
        self._trust = trust
        self._size = size
        self._subtree = proof.subtrees(lambda level, low, high: store.hashes(conn, level, low, high))

    def anchor(self, named: Named) -> Iterable[Finding]:
        """Everything that is wrong with one anchor, or with the log as it knows it."""
        found: set[int] = set()
        try:
            for kept in named.anchor.kept(self._trust.name):
                size, problem = self._kept(kept)
                found.add(size)
                if problem is not None:
                    yield problem
        except MandamusError as error:
            verdict = Verdict.INCOMPLETE if error.code is Code.AUDIT_UNAVAILABLE else verdict_of(error)
            yield Finding(verdict, error.message, f"anchor {named.name}")
            return
        for size in anchor_store.sizes_of(self._conn, self._trust.name, named.name):
            if size not in found:
                message = f"the checkpoint of {size} leaves was put there, and is not there any more"
                yield Finding(Verdict.INCOMPLETE, message, f"anchor {named.name}")

    def _kept(self, kept: Kept) -> tuple[int, Finding | None]:
        try:
            checkpoint = note.read_checkpoint(kept.note, self._trust)
        except MandamusError as error:
            return -1, Finding(verdict_of(error), error.message, kept.place)
        size = checkpoint.size
        if kept.problem:
            return size, Finding(Verdict.TAMPERED, kept.problem, kept.place)
        if size > self._size:
            message = f"it has {size} leaves, and the log has {self._size}: the log was taken back"
            return size, Finding(Verdict.TAMPERED, message, kept.place)
        if self._root(size) != checkpoint.root:
            message = f"the log does not continue it: another history of the first {size} leaves"
            return size, Finding(Verdict.TAMPERED, message, kept.place)
        return size, None

    def _root(self, size: int) -> bytes | None:
        try:
            return tree.frontier(size, self._subtree).root()
        except (LookupError, ValueError):
            # Rows are missing, which the verification of the database tells, row by row.
            return None
