"""The verbs of evidence: seal the bundle that proves a run, and hand it out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from mandamus.audit import note
from mandamus.audit.kinds import Kind
from mandamus.audit.later import cosigned_since, stamped_since
from mandamus.audit.leaf import decode
from mandamus.audit.model import Checkpoint, Event, IndexedLeaf, Resource
from mandamus.audit.population import closed_runs, newest_kind
from mandamus.audit.proofs import Consistency
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.evidence import archive, attest, dsse, manifest, store
from mandamus.evidence.case import Record
from mandamus.evidence.later import consistency_of
from mandamus.evidence.model import (
    ANCHORED,
    CHECKPOINT,
    CLOSING,
    README,
    STAMP,
    SUMMARY,
    TRUST,
    UNSETTLED,
    WITNESSED,
    Parts,
    exemption_stream,
    exemptions_named,
    leaf_file,
    proof_file,
)
from mandamus.evidence.readme import readme
from mandamus.evidence.record import RECORD, fold
from mandamus.evidence.sampling import Closed
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, RunId
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, Tx


class Evidence:
    """The bundles of one home; ``signer`` is the platform's key, which the log's first leaf anchors."""

    def __init__(self, db: Database, blobs: Blobs, audit: Audit, signer: Signer, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._audit = audit
        self._signer = signer
        self._clock = clock

    def seal(self, who: Subject, parts: Parts) -> Digest:
        """Make the bundle of a run that has closed or rests, and record it; gives its digest, under which it is a blob.

        Safe to repeat after a crash at any point: one closing of a run has one bundle. Raises ``evidence_invalid``
        when the log does not say that the run has closed, or that it is not settled.
        """
        checkpoint, leaves = self._audit.flush(), parts.leaves
        kind = decode(leaves[-1].bytes)["kind"] if leaves else ""
        if kind == UNSETTLED:
            # Of a tree that ends with it, nothing that came after can have been left out.
            checkpoint = self._audit.head_at(leaves[-1].index + 1)
        elif kind != CLOSING:
            raise MandamusError(
                Code.EVIDENCE_INVALID,
                f"the log does not say that {parts.run} has closed, so there is nothing to seal",
                remedy=f"see where it is with `mandamus runs show {parts.run}`",
            )
        last = leaves[-1].seq
        with self._db.read() as conn:
            known = store.find(conn, parts.run, last)
        if known is not None:
            return known.digest
        digest = self._blobs.put(self._bundle(parts, leaves, checkpoint))
        sealed = store.Sealed(parts.run, last, digest, self._clock.now_us())
        event = self._event(Kind.EVIDENCE_SEALED, who, sealed)
        with self._db.begin("evidence.sealed") as tx:
            if store.add(tx.conn, sealed):
                self._audit.record(tx, event)
                return digest
        # Somebody else sealed the same closing meanwhile; theirs is the bundle.
        return self.seal(who, parts)

    def rests(self, tx: Tx, run: RunId) -> bool:
        """Whether the run's newest event says that it is not settled."""
        return newest_kind(tx.conn, run) == UNSETTLED

    @requires(Permission.EVIDENCE_READ)
    def export(self, who: Subject, run_id: RunId, path: Path) -> Digest:
        """Write the bundle of a run to a new file and record that; gives the digest of what was written.

        What witnesses and timestamp servers said of the log since it was sealed is added to it.

        Raises ``conflict`` when the file exists or the run is not sealed, ``unavailable`` when it cannot be written,
        ``not_found`` for a run that is of no project the subject may read.
        """
        given, data = self._given(who, run_id)
        with _new_file(path) as file:
            self._handed(who, given)
            file.write(data)
        return given.digest

    @requires(Permission.EVIDENCE_READ)
    def bundle(self, who: Subject, run_id: RunId) -> tuple[Digest, bytes]:
        """What `export` writes, and its digest; that it was handed out is recorded. Raises what `export` raises."""
        given, data = self._given(who, run_id)
        self._handed(who, given)
        return given.digest, data

    @requires(Permission.EVIDENCE_READ)
    def population(
        self,
        who: Subject,
        since_us: int,
        until_us: int,
    ) -> tuple[Checkpoint, list[Closed]]:
        """The runs that ended from one moment to before another, by id, and the checkpoint whose log tells it.

        For a reader who is held to a place it is the runs there.
        """
        checkpoint = self._audit.flush()
        with self._db.read() as conn:
            found = closed_runs(conn, since_us, until_us, who.areas(Permission.EVIDENCE_READ))
        return checkpoint, [Closed(run, index) for run, index in found if index < checkpoint.size]

    def _given(self, who: Subject, run_id: RunId) -> tuple[store.Sealed, bytes]:
        unknown = MandamusError(
            Code.NOT_FOUND,
            f"there is no evidence of {run_id} that you may read",
            remedy="list the runs that you may read with `mandamus runs list`",
            context={"run": run_id},
        )
        authorize(who, Permission.EVIDENCE_READ, *self._audit.place_of(run_id), unknown=lambda: unknown)
        sealed = self._newest(run_id)
        data = self._with_later(run_id, self._blobs.get(sealed.digest))
        return replace(sealed, digest=canonical.digest(data)), data

    def _handed(self, who: Subject, given: store.Sealed) -> None:
        event = self._event(Kind.EVIDENCE_EXPORTED, who, given)
        with self._db.begin("evidence.exported") as tx:
            self._audit.record(tx, event)

    def _event(self, kind: Kind, who: Subject, sealed: store.Sealed) -> Event:
        """In a stream of its own: the run's stream has ended."""
        project = self._audit.project_of(sealed.run)
        return Event(kind, who, Resource("evidence", sealed.run), project=project, data={"digest": sealed.digest})

    def _newest(self, run_id: RunId) -> store.Sealed:
        with self._db.read() as conn:
            sealed = store.newest(conn, run_id)
        leaves = self._audit.events(run_id)
        if sealed is None or (leaves and leaves[-1].seq > sealed.seq):
            raise MandamusError(
                Code.CONFLICT,
                f"{run_id} has no sealed evidence" if sealed is None else f"{run_id} goes on, its evidence is outdated",
                remedy=f"a run is sealed when it ends or rests; see where it is with `mandamus runs show {run_id}`",
                context={"run": run_id},
            )
        return sealed

    def _bundle(self, parts: Parts, leaves: Sequence[IndexedLeaf], checkpoint: Checkpoint) -> bytes:
        cited = self._cited(parts, leaves[-1].index)
        all_leaves = sorted([self._audit.opened(), *leaves, *cited], key=lambda leaf: leaf.index)
        proofs = self._audit.prove((leaf.index for leaf in all_leaves), checkpoint)
        records = [Record(leaf.index, decode(leaf.bytes)) for leaf in leaves]
        files = dict(parts.files)
        files[SUMMARY] = canonical.dumps(parts.summary)
        files[README] = readme(parts.run, checkpoint.origin)
        files[CHECKPOINT] = checkpoint.note
        files[TRUST] = canonical.dumps({"log": self._audit.vkey, "platform": self._signer.vkey})
        files |= {leaf_file(leaf.index): leaf.bytes for leaf in all_leaves}
        files |= {proof_file(index): text for index, text in proofs.items()}
        told = attest.statements(parts.run, checkpoint.origin, records)
        files |= {file: dsse.sign(dsse.IN_TOTO, statement, self._signer) for file, statement in told.items()}
        return self._packed(parts.run, fold(files))

    def _with_later(self, run: RunId, sealed: bytes) -> bytes:
        """The bundle with what others said of the log since; the sealed bytes when that is nothing."""
        files = archive.contents(sealed)
        own = note.head(note.parse(files[CHECKPOINT]).text, files[CHECKPOINT])
        if self._audit.flush().origin != own.origin:
            # Another log began, and the tree of this one is not in the database any more.
            return sealed
        with self._db.read() as conn:
            stamped = stamped_since(conn, own)
        added = {} if stamped is None else {STAMP: stamped.answer}
        anchored = None if stamped is None else stamped.checkpoint
        for file, later in ((WITNESSED, cosigned_since(self._audit.folder, own)), (ANCHORED, anchored)):
            if later is not None:
                path = tuple(self._audit.consistency(own.size, later.size))
                made = Consistency(own.size, own.root, later.size, later.root, path)
                added |= {file: later.note, consistency_of(file): made.text()}
        if not added:
            return sealed
        del files[manifest.MANIFEST]
        return self._packed(run, (files if RECORD in files else fold(files)) | added)

    def _packed(self, run: RunId, files: dict[str, bytes]) -> bytes:
        files = files | manifest.write(run, files, self._signer)
        return archive.pack(files, lambda digest: manifest.seal(run, digest, self._signer))

    def _cited(self, parts: Parts, last: int) -> list[IndexedLeaf]:
        """The events, up to the run's end, of every exemption that spared a violation."""
        named: set[str] = set()
        for file, data in parts.files.items():
            if file.startswith("decisions/") and not file.endswith(".input.json"):
                named |= exemptions_named(canonical.loads(data))
        found = [self._audit.stream(exemption_stream(name)) for name in sorted(named)]
        return [leaf for stream in found for leaf in stream if leaf.index < last]


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there before, durable when the block ends and gone again when it fails."""
    try:
        with path.open("xb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink()
                raise
    except FileExistsError as error:
        raise MandamusError(
            Code.CONFLICT, f"{path} exists already", remedy="name another file, or move this one away"
        ) from error
    except OSError as error:
        raise MandamusError(
            Code.UNAVAILABLE,
            f"{path} cannot be written: {error.strerror}",
            remedy="name a file in a folder that is there, is yours and has space",
        ) from error
