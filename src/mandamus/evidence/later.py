"""What others said of the log after a run was sealed: witnesses that cosigned it, and timestamp servers. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mandamus.audit import note
from mandamus.audit.model import Checkpoint, Finding, Verdict
from mandamus.audit.proofs import Consistency, holds
from mandamus.audit.quorum import QuorumPolicy
from mandamus.audit.trust import Trust
from mandamus.audit.verify import uncosigned, verdict_of
from mandamus.evidence.model import ANCHORED, STAMP, WITNESSED, finding
from mandamus.kernel.errors import MandamusError

Stamps = Callable[[bytes, bytes], str]
"""``(answer, data) -> who stamped the data, and when``; raises ``audit_tampered`` and ``audit_untrusted``."""


@dataclass(frozen=True)
class Demands:
    """What must have been said: cosignatures of enough witnesses, a stamp by a timestamp server one trusts."""

    quorum: QuorumPolicy | None = None
    stamps: Stamps | None = None


NOTHING = Demands()
"""What is there is examined, and nothing has to be."""


def consistency_of(file: str) -> str:
    """The file which shows that a later checkpoint continues that of the bundle (``consistency/1``)."""
    return f"{file}.consistency"


@dataclass
class Later:
    """Examines those files of a bundle; ``own`` is the checkpoint that its proofs lead to."""

    files: Mapping[str, bytes]
    own: Checkpoint
    trust: Trust
    problems: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, demands: Demands) -> None:
        """Whether they are what they should be, and what is demanded is there; adds to ``problems`` and ``notes``."""
        found = {file: self._continues(file) for file in (WITNESSED, ANCHORED) if self._any_of(file)}
        if not self.problems:
            self._witnesses(demands.quorum, found.get(WITNESSED))
            self._stamped(demands.stamps, found.get(ANCHORED))

    def _any_of(self, file: str) -> bool:
        together = {file, consistency_of(file), *([STAMP] if file == ANCHORED else [])}
        for missing in sorted(together - self.files.keys()) if together & self.files.keys() else ():
            self.problems.append(finding(Verdict.INCOMPLETE, "it is missing", missing))
        return together <= self.files.keys()

    def _continues(self, file: str) -> Checkpoint | None:
        """The later checkpoint, once a trusted key signed it and the tree of the bundle's is a prefix of its tree."""
        try:
            later = note.read_checkpoint(self.files[file], self.trust)
        except MandamusError as error:
            self.problems.append(finding(verdict_of(error), error.message, file))
            return None
        proof = self.files[consistency_of(file)]
        try:
            path = tuple(base64.b64decode(line, validate=True) for line in proof.splitlines()[3:])
        except binascii.Error:
            path = ()
        made = Consistency(self.own.size, self.own.root, later.size, later.root, path)
        if made.text() != proof or later.origin != self.own.origin or not holds(made):
            why = f"it does not show that the log of {later.size} leaves continues that of {self.own.size}"
            self.problems.append(finding(Verdict.TAMPERED, why, consistency_of(file)))
        return later

    def _witnesses(self, quorum: QuorumPolicy | None, later: Checkpoint | None) -> None:
        notes = [self.own.note, *([later.note] if later else [])]
        if quorum is None:
            if later is not None:
                names = sorted({each.name for each in note.parse(later.note).signatures} - {later.origin})
                told = f"{', '.join(names)} cosigned the log at {later.size} leaves"
                self.notes.append(f"{told}; not verified: give --policy")
            return
        wrong = [uncosigned(each, quorum) for each in notes]
        if all(wrong):
            self.problems += wrong[-1]
        else:
            names = sorted(frozenset[str]().union(*(quorum.cosigners_of(note.parse(each)) for each in notes)))
            self.notes.append(f"the quorum {quorum.quorum} is met: cosigned by {', '.join(names) or 'nobody'}")

    def _stamped(self, stamps: Stamps | None, later: Checkpoint | None) -> None:
        if stamps is None:
            if later is not None:
                self.notes.append(f"a timestamp of the log at {later.size} leaves is in it; not verified: give --tsa")
            return
        if later is None:
            why = "no timestamp server stamped the log since, or not before the bundle was handed out"
            self.problems.append(finding(Verdict.UNTRUSTED, why, STAMP))
            return
        try:
            self.notes.append(f"{stamps(self.files[STAMP], later.note)}: the run had ended by then")
        except MandamusError as error:
            self.problems.append(finding(verdict_of(error), error.message, STAMP))
