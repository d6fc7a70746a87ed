"""Whether each decision follows from its violations: levels, overrides, and exemptions that were really granted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mandamus.audit.model import Verdict
from mandamus.evidence.case import Case, Record
from mandamus.evidence.model import exemption_stream

DENY, ASK, ALLOW = "deny", "needs_approval", "allow"
ADVISORY, SOFT, HARD, SHADOW = "advisory", "soft-mandatory", "hard-mandatory", "shadow"
MILDEST_FIRST = (SHADOW, ADVISORY, SOFT, HARD)
OVERRIDABLE = frozenset({"step", "plan", "apply"})
GRANTED, ENDED = "exemption.granted", "exemption.ended"


def check_rulings(case: Case) -> None:
    """Judge the document of every decision of the run."""
    for record in case.of("decision.recorded"):
        with case.reading(record):
            file = f"decisions/{record.data['decision']}.json"
            with case.reading(record, file):
                _Ruling(case, record, file, case.document(file)).check()


def exempters(case: Case, at_us: int, before: int) -> set[str]:
    """Who had granted an exemption on which the run stands and that counted at that moment: they approve nothing."""
    found: set[str] = set()
    for chain in case.cited.values():
        granted = [record for record in chain if record.kind == GRANTED and record.index < before]
        if granted and granted[0].data["until_us"] > at_us and not _ended(chain, at_us, before):
            found |= granted[0].actors
    return found


def _ended(chain: tuple[Record, ...], at_us: int, before: int) -> bool:
    return any(record.kind == ENDED and record.index < before and record.at_us <= at_us for record in chain)


class _Ruling:
    """One decision: its event, its document, and the sets as they were attached."""

    def __init__(self, case: Case, record: Record, file: str, document: Mapping[str, Any]) -> None:
        self._case = case
        self._record = record
        self._file = file
        self._said = document
        self._attached: dict[str, list[Mapping[str, Any]]] = {}
        for one in document["attached"]:
            self._attached.setdefault(one["set"], []).append(one)

    def check(self) -> None:
        """Sets, outcome, and every violation."""
        said = self._said
        if [one["set"] for one in said["attached"]] != list(said["sets"]):
            self._wrong("the sets that were attached are not those that were asked")
        denies = bool(said["violations"] or said["error"])
        follows = DENY if denies else ASK if said["requires"] else ALLOW
        if said["outcome"] != follows:
            self._wrong(f"its outcome is {said['outcome']}, and from what its sets say {follows} follows")
        for violation in said["violations"]:
            self._check_level(violation)
        for violation in said["warnings"]:
            self._check_level(violation)
        for violation in said["spared"]:
            self._check_level(violation)
            self._check_spared(violation)

    def _check_level(self, violation: Mapping[str, Any]) -> None:
        """No violation binds more strictly than its set was attached."""
        attached = self._attached.get(violation["set"], ())
        strictest = max((MILDEST_FIRST.index(one["level"]) for one in attached), default=-1)
        if attached and MILDEST_FIRST.index(violation["level"]) > strictest:
            self._wrong(f"{_name(violation)} is {violation['level']}, and its set is attached more mildly")
        if not attached and violation["set"]:
            self._wrong(f"{_name(violation)} is of a set that is not attached")

    def _check_spared(self, violation: Mapping[str, Any]) -> None:
        """What denied nothing is exempted, only tried out, or overridden by those whom the attachment names."""
        if violation["exemption"]:
            self._check_exempted(violation)
        elif violation["level"] == SOFT:
            self._check_overridden(violation)
        elif violation["level"] != SHADOW:
            self._wrong(f"{_name(violation)} is {violation['level']}, and nothing spares it")

    def _check_overridden(self, violation: Mapping[str, Any]) -> None:
        owners = [one["override"] for one in self._attached.get(violation["set"], ()) if one["override"]]
        if self._said["point"] not in OVERRIDABLE or not owners:
            self._wrong(f"{_name(violation)} was let pass, and nobody may override it here")
            return
        asked = {
            (each["group"], each["count"]) for each in self._said["requires"]
            if each["override"] and (each["set"], each["rule"]) == (violation["set"], violation["rule"])
        }  # fmt: skip
        if not any(set(owner.items()) <= asked for owner in owners):
            self._wrong(f"{_name(violation)} was let pass, and its override was not asked of all who own it")
        self._case.notes.append(
            f"{_name(violation)} counts as overridden in decision {self._said['id']} (leaf {self._record.index})"
        )

    def _check_exempted(self, violation: Mapping[str, Any]) -> None:
        name, record = violation["exemption"], self._record
        chain = self._case.cited.get(exemption_stream(name), ())
        granted = chain[0] if chain else None
        if granted is None or granted.kind != GRANTED:
            why = f"{_name(violation)} is spared by {name}, and no leaf tells that it was granted"
            self._case.wrong(why, record, self._file, Verdict.INCOMPLETE)
            return
        told = granted.data
        names = {one["name"] for one in self._attached.get(violation["set"], ())}
        fits = (
            told["exemption"] == name
            and told["environment"] == self._said["environment"]
            and told["set"] in names
            and told["rule"] == violation["rule"]
            and told["address"] in ("", violation["address"])
        )
        if not fits:
            self._wrong(f"{_name(violation)} is spared by {name}, which is about something else (leaf {granted.index})")
        at_us = self._said["at_us"]
        if granted.index > record.index or at_us >= told["until_us"] or _ended(chain, at_us, record.index):
            self._wrong(f"{_name(violation)} is spared by {name}, which did not count then (leaf {granted.index})")
        who, why = granted.who["subject"], granted.fields["why"]
        self._case.notes.append(f"{who} exempted {_name(violation)}: {why} (leaf {granted.index})")

    def _wrong(self, why: str) -> None:
        self._case.wrong(why, self._record, self._file)


def _name(violation: Mapping[str, Any]) -> str:
    address = f" at {violation['address']}" if violation["address"] else ""
    return f"{violation['rule']}{address}"
