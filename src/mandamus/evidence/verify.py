"""Verifies a bundle offline: nothing but the file and the log's verifier key, no database, no network.

First the pages: is every byte what the platform sealed, and every leaf one of the trusted log? Only when they all are
does it make sense to read them, and then the story is judged: was nothing done that was not planned, allowed, approved
by others than its makers, and promised before? Within each half every problem is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mandamus.audit import leaf as leaves
from mandamus.audit import note, proof, tree
from mandamus.audit.model import Checkpoint, Finding, Verdict
from mandamus.audit.ranges import PROBLEMS_MAX
from mandamus.audit.signer import Verifier, parse_vkey
from mandamus.audit.trust import Trust, parse_trust
from mandamus.audit.verify import verdict_of
from mandamus.evidence import archive as archives
from mandamus.evidence import attest, effects, manifest, people, ruling, story
from mandamus.evidence.archive import Archive
from mandamus.evidence.case import Case, Record, well_formed
from mandamus.evidence.later import NOTHING, Demands, Later
from mandamus.evidence.manifest import MANIFEST, Manifest
from mandamus.evidence.model import (
    CHECKPOINT,
    CLOSING,
    OPENED,
    UNSETTLED,
    BundleReport,
    exemption_stream,
    finding,
    leaf_file,
    leaf_of,
    proof_file,
)
from mandamus.evidence.record import FOLDERS, RECORD
from mandamus.kernel.errors import MandamusError


@dataclass(frozen=True)
class Examined:
    """A bundle's report and, when all is well, what it holds: proved, so that its form can be relied on."""

    report: BundleReport
    case: Case | None = None
    checkpoint: Checkpoint | None = None


def verify(bundle: Path, trust: str, demands: Demands = NOTHING) -> BundleReport:
    """Verify the bundle in a file against the log's trust root; findings never raise. See `examine`."""
    return examine(bundle, trust, demands).report


def examine(bundle: Path, trust: str, demands: Demands = NOTHING) -> Examined:
    """Verify the bundle in a file against the log's trust root, and keep what it holds; findings never raise.

    1. The log's key signs the checkpoint, whose leaf 0 names the platform's key, which signs the manifest.
    2. The files are exactly those of the manifest.
    3. Every leaf is in the checkpoint's tree; the run's are all there, chained, and end with ``run.closed``, or with
       ``run.unsettled`` when that is the last leaf of the tree: then nothing can have been cut off after it.
    4. The story holds: see the modules ``story``, ``people``, ``effects`` and ``ruling``, and the signed statements of
       ``attest`` say the same.
    5. Checkpoints that witnesses cosigned or a timestamp server stamped continue that of the bundle, and what
       ``demands`` asks of them is there.
    6. The archive is byte for byte the one that was sealed.
    """
    try:
        verifier = parse_trust(trust)
    except MandamusError as error:
        return Examined(BundleReport(0, (Finding(verdict_of(error), error.message),)))
    problems: list[Finding] = []
    archive = archives.read(bundle, problems)
    if archive is None:
        return Examined(BundleReport(0, tuple(problems), verifier.name))
    pages = _Pages(archive, problems)
    checkpoint = pages.checkpoint(verifier)
    platform = None if checkpoint is None else pages.platform(checkpoint)
    pages.manifest(platform)
    records = pages.leaves(checkpoint)
    case: Case | None = None
    if platform is not None and not problems:
        case = Case(pages.run, records, pages.contents, platform, problems, pages.cited)
        judge(case)
        attest.check_attestations(case, verifier.name if checkpoint is None else checkpoint.origin)
    pages.blame_record()
    notes: list[str] = [] if case is None else case.notes
    if checkpoint is not None and not problems:
        later = Later(pages.files, checkpoint, verifier, problems, notes)
        later.check(demands)
    if platform is not None and not problems:
        pages.seal(platform)
    state = str(records[-1].data.get("state", "")) if records else ""
    found = tuple(problems[:PROBLEMS_MAX])
    report = BundleReport(len(pages.files), found, verifier.name, run=pages.run, state=state, notes=tuple(notes))
    return Examined(report, case if report.ok else None, checkpoint)


def judge(case: Case) -> None:
    """Whether what the proved leaves and the documents tell is one story, and a governed one."""
    story.check_documents(case)
    if case.problems:
        return
    story.check_request(case)
    story.check_ends(case)
    story.check_plans(case)
    story.check_steps(case)
    makers = people.Makers(case)
    votes = people.check_votes(case, makers)
    decisions = effects.check_decisions(case)
    ruling.check_rulings(case)
    effects.check_effects(case, decisions, votes, makers)
    people.note_unverified(case)


@dataclass
class _Pages:
    """The bytes of a bundle on their way to be trusted."""

    archive: Archive
    problems: list[Finding]
    listed: Manifest = field(default_factory=Manifest)
    run: str = ""
    reported: set[str] = field(default_factory=set)
    cited: dict[str, tuple[Record, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reported |= self.archive.unreadable

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """Every file, those in the record by their own names."""
        return {name: data for name, data in self.archive.files.items() if name != RECORD} | self.archive.record

    @property
    def contents(self) -> Mapping[str, bytes]:
        """The files without the manifest."""
        return {name: data for name, data in self.files.items() if name != MANIFEST}

    def checkpoint(self, verifier: Trust) -> Checkpoint | None:
        """The signed tree head, from its own file or, when that was damaged, from the proof of leaf 0."""
        wrong: list[Finding] = []
        for name in (CHECKPOINT, proof_file(OPENED)):
            data = self._need(name)
            if data is None:
                continue
            try:
                held = data if name == CHECKPOINT else proof.parse(data).checkpoint
                return note.read_checkpoint(held, verifier)
            except MandamusError as error:
                wrong.append(Finding(verdict_of(error), error.message, name))
        self.problems += wrong
        self.reported |= {finding.file for finding in wrong}
        return None

    def platform(self, checkpoint: Checkpoint) -> Verifier | None:
        """The platform's key, from the very first leaf of the trusted log."""
        name = leaf_file(OPENED)
        fields = self._leaf(OPENED, checkpoint)
        if fields is None:
            return None
        expected = (f"log/{checkpoint.origin}", 0, "log.opened", checkpoint.origin)
        data = fields["data"]
        if (fields["stream"], fields["seq"], fields["kind"], data.get("origin")) != expected:
            self._add(Verdict.TAMPERED, "it is not the leaf that opens this log", name)
            return None
        try:
            return parse_vkey(str(data.get("platform_key")))
        except MandamusError as error:
            self._add(Verdict.TAMPERED, error.message, name)
            return None

    def manifest(self, platform: Verifier | None) -> None:
        """Compare the files with the manifest; without a platform key nothing is proved, but damage still shows."""
        data = self._need(MANIFEST)
        if data is None:
            return
        try:
            self.listed = manifest.read(data, platform)
        except ValueError as error:
            self._add(Verdict.TAMPERED, str(error), MANIFEST)
            return
        self.run, listed = self.listed.run, self.listed.files
        present = self.archive.files.keys() - {MANIFEST}
        for name in sorted(listed.keys() - present - self.reported):
            self._add(Verdict.INCOMPLETE, "it is missing", name)
        for name in sorted(present - listed.keys()):
            self._add(Verdict.TAMPERED, "the manifest does not list it", name)
        for name in sorted(present & listed.keys() - self.reported - {RECORD}):
            if not manifest.fits(self.archive.files[name], listed[name]):
                self._add(Verdict.TAMPERED, "its bytes are not those the manifest lists", name)

    def leaves(self, checkpoint: Checkpoint | None) -> tuple[Record, ...]:
        """The events of the run, each proved, in their chain."""
        if checkpoint is None or not self._has_leaves:
            return ()
        if self.files.get(CHECKPOINT, checkpoint.note) != checkpoint.note and CHECKPOINT not in self.reported:
            self._add(Verdict.TAMPERED, "it is not the checkpoint of the proofs", CHECKPOINT)
        named = {leaf_of(name) for name in self.files} - {None, OPENED}
        records = []
        for index in sorted(index for index in named if index is not None):
            fields = self._leaf(index, checkpoint)
            if fields is not None:
                records.append(Record(index, fields))
        if not self.run:
            # The manifest is not to be believed; what it would say is what most leaves say anyway.
            self.run = next((run for record in records if (run := record.fields["run"])), "")
        return self._chains(records, checkpoint)

    def seal(self, platform: Verifier) -> None:
        """Nothing beside the files changed either; asked last, since any other change breaks the seal as well."""
        why = manifest.seals(self.listed, self.archive.sealed, self.archive.seal, platform)
        if why:
            self._add(Verdict.TAMPERED, f"the archive itself was changed or made anew: {why}", "")

    def blame_record(self) -> None:
        """Whether the record is the one that was sealed; asked when what is wrong inside it has been named."""
        data = self.archive.files.get(RECORD)
        listed = self.listed.files.get(RECORD)
        if data is not None and listed is not None and RECORD not in self.reported and not manifest.fits(data, listed):
            self._add(Verdict.TAMPERED, "its bytes are not those the manifest lists", RECORD)

    @property
    def _has_leaves(self) -> bool:
        return any(name.startswith(FOLDERS) for name in self.files)

    def _leaf(self, index: int, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
        """The fields of a leaf that its proof shows in the checkpoint, or None with the reason noted."""
        file, beside = leaf_file(index), proof_file(index)
        data, text = self._need(file), self._need(beside)
        if data is None or text is None or {file, beside} & self.reported:
            return None
        try:
            shown = proof.parse(text)
        except MandamusError as error:
            self._add(Verdict.TAMPERED, error.message, beside)
            return None
        fields = None
        if shown.checkpoint != checkpoint.note or shown.index != index:
            self._add(Verdict.TAMPERED, "it is a proof of another leaf or for another checkpoint", beside)
        elif not proof.includes(checkpoint, shown, data):
            self._add(Verdict.TAMPERED, f"with its proof it is not leaf {index} of the signed log", file)
        else:
            fields = self._fields(data, file)
        return fields

    def _fields(self, data: bytes, file: str) -> Mapping[str, Any] | None:
        try:
            fields = leaves.decode(data)
        except MandamusError as error:
            self._add(Verdict.TAMPERED, error.message, file)
            return None
        if not well_formed(fields):
            self._add(Verdict.TAMPERED, "it lacks fields that every leaf has", file)
            return None
        return fields

    def _chains(self, records: list[Record], checkpoint: Checkpoint) -> tuple[Record, ...]:
        """The run's events, all of them to the one it ends or rests with; those of exemptions are kept beside."""
        mine = f"run/{self.run}"
        streams: dict[str, list[Record]] = {mine: []}
        for record in records:
            stream, run = record.fields["stream"], record.fields["run"]
            if (stream, run) == (mine, self.run) or (stream.startswith(exemption_stream("")) and run is None):
                streams.setdefault(stream, []).append(record)
            else:
                self._add(Verdict.TAMPERED, f"it is not of the run {self.run}", leaf_file(record.index))
        for stream, chain in streams.items():
            self._chain("the run" if stream == mine else stream, chain)
        story = tuple(streams.pop(mine))
        self.cited = {stream: tuple(chain) for stream, chain in streams.items()}
        if story and story[-1].kind == UNSETTLED:
            if story[-1].index + 1 != checkpoint.size:
                why = f"the run was not settled here, and the log of {checkpoint.size} leaves goes on: "
                self._add(Verdict.INCOMPLETE, f"{why}its end may be cut off", leaf_file(story[-1].index))
        elif not story or story[-1].kind != CLOSING:
            self._add(Verdict.INCOMPLETE, f"the run's last event, {CLOSING}, is missing", "")
        return story

    def _chain(self, of: str, records: list[Record]) -> None:
        """The events of a stream from its first, each naming the one before it."""
        newest, hashed = -1, b""
        for record in records:
            fields, name = record.fields, leaf_file(record.index)
            seq = fields["seq"]
            if seq <= newest:
                self._add(Verdict.TAMPERED, f"event {seq} of {of} stands after event {newest}", name)
                continue
            if seq > newest + 1:
                self._add(Verdict.INCOMPLETE, f"before event {seq} of {of}, event {newest + 1} is missing", name)
            elif fields["prev"] != (hashed.hex() or None):
                self._add(Verdict.TAMPERED, f"it does not name the hash of event {newest} of {of}", name)
            newest, hashed = seq, tree.leaf_hash(self.files[name])

    def _need(self, name: str) -> bytes | None:
        """A file; when it is not there, that is noted once."""
        data = self.files.get(name)
        if data is None:
            place = RECORD if name.startswith(FOLDERS) and not self._has_leaves else name
            if place not in self.reported:
                self._add(Verdict.INCOMPLETE, "it is missing", place)
        return data

    def _add(self, verdict: Verdict, message: str, file: str) -> None:
        self.problems.append(finding(verdict, message, file))
        self.reported.add(file)
