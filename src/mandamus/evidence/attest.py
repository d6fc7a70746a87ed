"""What a run's leaves say, once more as signed in-toto statements: for tools that know those and not our log.

Everything is computed from the leaves, so whoever verifies a bundle computes it again and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from mandamus.evidence import dsse
from mandamus.evidence.case import Case, Record
from mandamus.evidence.model import ATTESTATIONS, LOST, WORKFLOW, Document, approval_file, named_by, set_file
from mandamus.kernel import canonical
from mandamus.kernel.clock import rfc3339

VSA = "https://slsa.dev/verification_summary/v1"
CHANGE = "urn:mandamus:change:v1"
APPROVALS = "urn:mandamus:approvals:v1"
PASSED, FAILED = "PASSED", "FAILED"

_POINTS = frozenset({"trigger", "step", "plan", "apply"})
_ENDS = {"effect.finished": "outcome", "effect.settled": "as"}


def statements(run: str, origin: str, records: Sequence[Record]) -> dict[str, bytes]:
    """The statement (not yet signed) for each file of `ATTESTATIONS`."""
    story = _Story(run, origin, records)
    return {
        ATTESTATIONS["policy.vsa"]: dsse.statement(VSA, story.subject, story.verdict()),
        ATTESTATIONS["change"]: dsse.statement(CHANGE, story.subject, story.change()),
        ATTESTATIONS["approvals"]: dsse.statement(APPROVALS, story.bound, story.approvals()),
    }


def check_attestations(case: Case, origin: str) -> None:
    """Each statement is signed by the platform's key and says exactly what the leaves say."""
    last = case.records[-1]
    with case.reading(last):
        for file, told in statements(case.run, origin, case.records).items():
            with case.reading(None, file):
                try:
                    held = dsse.verify(case.content(file), dsse.IN_TOTO, case.platform)
                except ValueError as error:
                    case.wrong(str(error), None, file)
                    continue
                if held != told:
                    case.wrong("it does not say what the leaves say", None, file)


class _Story:
    def __init__(self, run: str, origin: str, records: Sequence[Record]) -> None:
        self._run = run
        self._origin = origin
        self._records = records
        self._asked = records[0]
        self._planned = {str(record.step): record for record in self._of("step.planned")}

    def _of(self, kind: str) -> list[Record]:
        return [record for record in self._records if record.kind == kind]

    @property
    def subject(self) -> list[dict[str, Any]]:
        """The newest plan of each step: its change set and the artifact; without one, the workflow."""
        newest = {record.index for record in self._planned.values()}
        named = [_resource(d.file, d.digest) for d in self._documents if d.leaf in newest and d.what == "change_set"]
        named += [
            _resource(f"plan of {step}", str(record.told("artifact")))
            for step, record in self._planned.items()
            if record.told("artifact")
        ]
        return named or self._workflow()

    @property
    def bound(self) -> list[dict[str, Any]]:
        """Every binding that somebody decided on; without one, the workflow."""
        found = {vote.told("binding"): vote.step for vote in self._of("approval.recorded")}
        return [_resource(f"binding of {step}", digest) for digest, step in found.items()] or self._workflow()

    def verdict(self) -> dict[str, Any]:
        """The predicate of a SLSA verification summary."""
        asked = [record for record in self._of("decision.recorded") if record.told("point") in _POINTS]
        sets = sorted({digest for record in asked for digest in record.told("sets") or ()})
        one = len(sets) == 1
        passed = self._passed(asked)
        return {
            "verifier": {"id": f"urn:mandamus:log:{self._origin}"},
            "timeVerified": rfc3339(self._records[-1].at_us),
            "resourceUri": f"urn:mandamus:run:{self._run}",
            "policy": {
                "uri": set_file(sets[0]) if one else "policy-bundle/",
                "digest": _sha256(sets[0] if one else canonical.digest_of(sets)),
            },
            "inputAttestations": [
                {"uri": document.file, "digest": _sha256(document.digest)}
                for document in self._documents
                if document.what == "decision"
            ],
            "verificationResult": PASSED if passed else FAILED,
            "verifiedLevels": ["MANDAMUS_POLICY_PASSED" if passed else FAILED],
        }

    def _passed(self, asked: Sequence[Record]) -> bool:
        """No newest decision denies, and what asked for people was done, so they had said yes."""
        newest = {(record.told("point"), record.step): record.told("outcome") for record in asked}
        if not self._of("run.admitted") or not newest or "deny" in newest.values():
            return False
        asking = {step for (_, step), outcome in newest.items() if outcome == "needs_approval"}
        waited = set(self._planned) if None in asking else asking
        intended = {(record.step, record.told("attempt")) for record in self._of("effect.intended")}
        return all(
            step in self._planned and (step, self._planned[step].told("attempt")) in intended
            for step in waited
            if step is not None
        )

    def change(self) -> dict[str, Any]:
        """What was asked for, by whom, and what was done about each step."""
        asked, last = self._asked, self._records[-1]
        return {
            "run": self._run,
            "workflow": {"name": asked.told("workflow"), "digest": asked.told("workflow_digest")},
            "source": asked.told("source"),
            "environment": asked.told("environment"),
            "inputs": asked.told("inputs"),
            "plan_only": asked.told("plan_only"),
            "requester": {name: asked.who[name] for name in ("subject", "authn", "behalf_of")},
            "reason": asked.fields["why"],
            "state": last.told("state"),
            "steps": [self._step(name) for name in dict.fromkeys(record.step for record in self._records) if name],
        }

    def _step(self, name: str) -> dict[str, Any]:
        planned = self._planned.get(name)
        mine = [record for record in self._records if record.step == name]
        ends = {"step.finished": "", "effect.indeterminate": LOST, "step.retrying": "planned"}
        ended = [ends[record.kind] or record.told("state") for record in mine if record.kind in ends]
        return {
            "step": name,
            "state": ended[-1] if ended else "planned",
            **{what: planned and planned.told(what) for what in ("attempt", "change_set", "artifact", "binding")},
            "effects": [_effect(record, mine) for record in mine if record.kind == "effect.intended"],
        }

    def approvals(self) -> dict[str, Any]:
        """Who said yes or no to what, and where that stands."""
        return {
            "run": self._run,
            "decisions": [
                {
                    **{name: vote.told(name) for name in ("approval", "binding", "verdict", "group", "expires_us")},
                    "step": vote.step,
                    "by": vote.who["subject"],
                    "authn": vote.who["authn"],
                    "reason": vote.fields["why"],
                    "at_us": vote.at_us,
                    "leaf": vote.index,
                    "document": approval_file(str(vote.told("approval"))),
                }
                for vote in self._of("approval.recorded")
            ],
        }

    @cached_property
    def _documents(self) -> list[Document]:
        """What the leaves name; one that lacks what its kind tells names nothing, and is found elsewhere."""
        taken: dict[str, str] = {}
        found: list[Document] = []
        for record in self._records:
            with suppress(KeyError):
                found += named_by(record.index, record.fields, taken)
        return found

    def _workflow(self) -> list[dict[str, Any]]:
        return [_resource(WORKFLOW, str(self._asked.told("workflow_digest")))]


def _effect(intent: Record, mine: Sequence[Record]) -> dict[str, Any]:
    key = (intent.told("attempt"), intent.told("phase"))
    outcome, result = "unknown", None
    for record in mine:
        if record.kind in _ENDS and (record.told("attempt"), record.told("phase")) == key:
            outcome, result = record.told(_ENDS[record.kind]), record.told("result") or result
    return {"attempt": key[0], "phase": key[1], "intended_leaf": intent.index, "outcome": outcome, "result": result}


def _resource(name: str, digest: object) -> dict[str, Any]:
    return {"name": name, "digest": _sha256(str(digest))}


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
