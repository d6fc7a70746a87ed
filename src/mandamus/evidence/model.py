"""What a bundle is made of, which documents the log says it must hold, and what a verification reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from mandamus.audit.model import Finding, IndexedLeaf, Report, Verdict
from mandamus.kernel.ids import Digest, RunId

FORMAT, OLD_FORMAT = "evidence/2", "evidence/1"
"""In the old one every file stood in the zip by itself, without a record; it is still read."""

SUMMARY = "summary.json"
WORKFLOW = "workflow.yaml"
README = "README.txt"
CHECKPOINT = "checkpoint"
TRUST = "trust.json"
"""The verifier keys as the platform names them: to be looked at, never to be believed."""

CLOSING, UNSETTLED = "run.closed", "run.unsettled"
"""Kinds of a run's last event: it has ended, or it rests since nobody knows the end of one of its effects."""

LOST = "indeterminate"
"""The state of such a run, and of the step."""

OPENED = 0
"""Index of the leaf ``log.opened``, which anchors the platform's key; no log has it anywhere else."""

ATTESTATIONS = {
    "policy.vsa": "attestations/policy.vsa.dsse.json",
    "change": "attestations/change.dsse.json",
    "approvals": "attestations/approvals.dsse.json",
}
"""The signed in-toto statements that every bundle has, and their files."""

WITNESSED, ANCHORED = "checkpoint.witnessed", "checkpoint.anchored"
"""Later checkpoints of the log: one that witnesses cosigned, and one that a timestamp server stamped."""

STAMP = "checkpoint.tsr"
"""What the timestamp server answered about the anchored one (RFC 3161)."""

LATER = frozenset({WITNESSED, f"{WITNESSED}.consistency", ANCHORED, f"{ANCHORED}.consistency", STAMP})
"""Files that are added when a bundle is handed out, where there is something to add."""

FIXED = frozenset({SUMMARY, WORKFLOW, README, CHECKPOINT, TRUST, *ATTESTATIONS.values()})
"""Files that every bundle has, beside the manifest, the leaves and what the leaves name."""

_OF_LEAF = re.compile(r"events/(0|[1-9][0-9]{0,18})\.(?:json|tlog-proof)")
_NAMED: Mapping[str, tuple[str, ...]] = {
    "step.planned": ("binding", "change_set", "plan"),
    "step.waiting": ("binding",),
    "effect.finished": ("result",),
}


@dataclass(frozen=True)
class Parts:
    """What a run hands over to be sealed: its leaves, its summary (JSON-ready) and its documents by file name."""

    run: RunId
    leaves: Sequence[IndexedLeaf]
    summary: Mapping[str, Any]
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Document:
    """A file that a bundle must hold because the leaf names its digest."""

    file: str
    digest: Digest
    leaf: int
    what: str


@dataclass(frozen=True)
class BundleReport(Report):
    """What the verification of a bundle found; ``size`` is in files, ``notes`` are worth knowing and nothing wrong."""

    run: str = ""
    state: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As commands print it."""
        return {**super().to_json(), "run": self.run, "state": self.state, "notes": list(self.notes)}


def documents(leaves: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Document]:
    """Every document that the leaves of a run (index and fields, in order) name by digest, and its file's name.

    Whoever gathers a bundle and whoever verifies it ask here, so that a file can be under no other name. When a step is
    planned several times in one attempt, later documents are numbered: ``steps/build.1/binding.2.json``.
    """
    taken: dict[str, str] = {}
    return [document for index, leaf in leaves for document in named_by(index, leaf, taken)]


def named_by(index: int, leaf: Mapping[str, Any], taken: dict[str, str]) -> list[Document]:
    """The documents of one leaf; ``taken`` holds the names that leaves before it took, and takes its own."""
    data = leaf["data"]
    if leaf["kind"] == "decision.recorded":
        file = f"decisions/{data['decision']}"
        return [
            Document(f"{file}.json", Digest(data["document"]), index, "decision"),
            Document(f"{file}.input.json", Digest(data["input"]), index, "input"),
            *(Document(set_file(digest), Digest(digest), index, "policy set") for digest in data["sets"]),
        ]
    return [
        Document(_free(f"steps/{leaf['step']}.{data['attempt']}/{what}", data[what], taken), data[what], index, what)
        for what in _NAMED.get(leaf["kind"], ())
        if what != "plan" or data[what] is not None
    ]


def set_file(digest: str) -> str:
    """Where the exact text of a policy set is; its digest is the set's identity."""
    return f"policy-bundle/{digest.removeprefix('sha256:')}.json"


def exemption_stream(exemption: str) -> str:
    """The chain of events of an exemption; those up to the run's end are in the bundle when it spared a violation."""
    return f"exemption/{exemption}"


def exemptions_named(decision: Mapping[str, Any]) -> set[str]:
    """The exemptions by which a decision's document lets violations pass."""
    return {violation["exemption"] for violation in decision["spared"] if violation["exemption"]}


def approval_file(approval: str) -> str:
    """Where a signed approval is; its leaf names no digest but carries its signature."""
    return f"approvals/{approval}.json"


def leaf_file(index: int) -> str:
    """Where the exact bytes of a leaf are."""
    return f"events/{index}.json"


def proof_file(index: int) -> str:
    """Where its inclusion proof is (C2SP tlog-proof)."""
    return f"events/{index}.tlog-proof"


def leaf_of(file: str) -> int | None:
    """The index of the leaf that a file holds or proves, None for any other file."""
    found = _OF_LEAF.fullmatch(file)
    return None if found is None else int(found[1])


def finding(verdict: Verdict, message: str, file: str) -> Finding:
    """What is wrong with a file; of a leaf's file the leaf is named, too."""
    return Finding(verdict, message, file, leaf_of(file))


def _free(file: str, digest: str, taken: dict[str, str]) -> str:
    for number in count(1):
        name = f"{file}.json" if number == 1 else f"{file}.{number}.json"
        if taken.setdefault(name, digest) == digest:
            return name
    raise AssertionError
