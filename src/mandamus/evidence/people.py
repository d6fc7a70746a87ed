"""Whether the people who said yes were others than the makers, in time, about exactly what was bound."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.evidence.case import Case, Record
from mandamus.evidence.model import SUMMARY, approval_file
from mandamus.evidence.ruling import exempters
from mandamus.kernel import canonical

YES, NO = "yes", "no"
UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Vote:
    """One recorded yes or no whose document is sound."""

    id: str
    record: Record
    by: str
    group: str
    verdict: str
    binding: str
    expires_us: int
    reason: str


def check_votes(case: Case, makers: Makers) -> dict[str, Vote]:
    """Verify every approval document against its event; gives the sound ones by id."""
    votes: dict[str, Vote] = {}
    given: set[tuple[str, str]] = set()
    for record in case.of("approval.recorded"):
        with case.reading(record):
            file = approval_file(record.data["approval"])
            with case.reading(record, file):
                before = len(case.problems)
                document = dict(case.document(file, record))
                _check_signature(case, record, file, document)
                _check_document(case, record, file, document)
                barred = makers.by(record) | exempters(case, record.at_us, record.index)
                _check_voter(case, record, file, set(document["makers"]) | barred)
                _check_seat(case, record, file, document["group"])
                _check_asked(case, record, file)
                if (document["by"], document["binding"]) in given:
                    case.wrong(f"{document['by']} decided twice on one binding", record, file)
                given.add((document["by"], document["binding"]))
                if len(case.problems) == before:
                    votes[document["approval"]] = _vote(record, document)
    return votes


class Makers:
    """Who made the run, or part of it, at any time: nobody of them may approve.

    Who asked and who had it tried again is told by their own leaves; who else counts, by every input that policy
    judged and by the summary.
    """

    def __init__(self, case: Case) -> None:
        retried = [(record.index, record.actors) for record in case.of("run.retried")]
        self._from_the_start = set(case.requested.actors)
        with case.reading(None, SUMMARY):
            later = set[str]().union(*(actors for _, actors in retried))
            self._from_the_start |= set(case.document(SUMMARY)["makers"]) - later
        self._added = retried
        for record in case.of("decision.recorded"):
            with case.reading(record):
                told = judged(case, record).get("run", {}).get("makers", ())
                if set(told) - self._from_the_start:
                    self._added.append((record.index, set(told)))

    def by(self, record: Record) -> set[str]:
        """Everybody who had made part of the run when the event was recorded."""
        return self._from_the_start.union(*(names for index, names in self._added if index < record.index))


def judged(case: Case, decision: Record) -> Mapping[str, Any]:
    """The exact input of a decision; empty when policy could not be asked at all."""
    file = f"decisions/{decision.data['decision']}.input.json"
    if not case.content(file):
        return {}
    found: Mapping[str, Any] = case.document(file)
    return found


def note_unverified(case: Case) -> None:
    """List the identities that were only claimed; where that is allowed it is no fault, but an auditor should know."""
    seen: dict[tuple[str, str], list[int]] = {}
    for record in case.records:
        with case.reading(record):
            if UNVERIFIED in record.who["authn"]:
                seen.setdefault((record.who["subject"], record.who["authn"]), []).append(record.index)
    for (subject, authn), indices in seen.items():
        leaves = ", ".join(str(index) for index in indices)
        case.notes.append(f"{subject} is only claimed ({authn}): leaf {leaves}")


def _check_signature(case: Case, record: Record, file: str, document: Mapping[str, Any]) -> None:
    signed = canonical.dumps({name: value for name, value in document.items() if name != "signature"})
    signature = base64.b64decode(document["signature"], validate=True)
    if document["key_id"] != case.platform.key_id.hex() or not case.platform.verify(signature, signed):
        case.wrong(f"it is not signed by the platform's key {case.platform.vkey}", record, file)


def _check_document(case: Case, record: Record, file: str, document: Mapping[str, Any]) -> None:
    data, who = record.data, record.who
    pairs = {
        "run": (document["run"], case.run),
        "step": (document["step"], record.step),
        "by": (document["by"], who["subject"]),
        "authn": (document["authn"], who["authn"]),
        "reason": (document["reason"], record.fields["why"]),
        **{name: (document[name], data[name]) for name in ("approval", "binding", "verdict", "group", "expires_us")},
        "signature": (document["signature"], data["signature"]),
    }
    for what, (held, told) in pairs.items():
        if held != told:
            case.wrong(f"its {what} is {held!r}, and leaf {record.index} says {told!r}", record, file)
    if document["verdict"] not in (YES, NO):
        case.wrong(f"{document['verdict']!r} is neither yes nor no", record, file)


def _check_voter(case: Case, record: Record, file: str, makers: set[str]) -> None:
    own = record.actors & makers
    if own:
        names = ", ".join(sorted(own))
        case.wrong(f"{names} made this change, and nobody approves what they made", record, file)


def _check_seat(case: Case, record: Record, file: str, group: str) -> None:
    """A yes or no counts for a group that the person was in; an empty one means: any other user."""
    if group not in {"", f"user:{record.who['subject']}", *record.who["groups"]}:
        case.wrong(f"{record.who['subject']} was not in {group}", record, file)


def _check_asked(case: Case, record: Record, file: str) -> None:
    asked = case.last("step.waiting", record.step, record)
    if asked is None or asked.data["binding"] != record.data["binding"]:
        case.wrong(f"nobody was asked about the binding {record.data['binding']}", record, file)
        return
    if asked.data["expires_us"] != record.data["expires_us"] or record.at_us > record.data["expires_us"]:
        case.wrong("it was given after the time to decide was over", record, file)


def _vote(record: Record, document: Mapping[str, Any]) -> Vote:
    return Vote(
        id=document["approval"],
        record=record,
        by=document["by"],
        group=document["group"],
        verdict=document["verdict"],
        binding=document["binding"],
        expires_us=document["expires_us"],
        reason=document["reason"],
    )
