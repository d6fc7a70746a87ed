"""Which control asks for what, and what in a bundle shows it: the one table behind docs, reports and OSCAL.

What a control requires is told in our words; read the standard itself before you quote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mandamus.evidence.case import Case


class Fact(Enum):
    """``(word, what it shows, where in the bundle, kinds of leaves)``; without kinds the bundle as a whole shows it."""

    REQUEST = ("request", "who asked, on whose behalf, when and why", "`summary.json`", ("run.requested",))
    PLAN = (
        "plan",
        "what would change, before it did",
        "`steps/*/change_set.json`, `steps/*/plan.json`",
        ("step.planned",),
    )
    POLICY = (
        "policy",
        "which rules judged it, on which input, with which outcome",
        "`decisions/`, `policy-bundle/`, `attestations/policy.vsa.dsse.json`",
        ("decision.recorded",),
    )
    REFUSAL = (
        "refusal",
        "that it was kept out: denied, rejected, or a yes that did not count",
        "`decisions/`, `approvals/`",
        ("run.denied", "approval.refused"),
    )
    APPROVAL = (
        "approval",
        "who said yes or no to exactly this plan, signed, and none of them its maker",
        "`approvals/`, `attestations/approvals.dsse.json`",
        ("approval.recorded",),
    )
    EXEMPTION = ("exemption", "who let a rule pass, why, and until when", "`events/`", ("exemption.granted",))
    EFFECT = (
        "effect",
        "that it was announced before it began, and on which authority",
        "`events/`, `attestations/change.dsse.json`",
        ("effect.intended",),
    )
    RESULT = (
        "result",
        "what came of it",
        "`steps/*/result.json`",
        ("effect.finished", "effect.settled", "effect.indeterminate"),
    )
    END = ("end", "how the run ended", "`summary.json`", ("run.closed",))
    INTEGRITY = (
        "integrity",
        "that nothing was changed, added or left out",
        "`checkpoint`, `events/*.tlog-proof`, `manifest.dsse.json`",
        (),
    )
    RECORD = ("record", "every event with time, who, what, outcome, as a leaf of the log", "`events/*.json`", ())

    def __init__(self, word: str, shows: str, where: str, kinds: tuple[str, ...]) -> None:
        self.word = word
        self.shows = shows
        self.where = where
        self.kinds = kinds


@dataclass(frozen=True)
class Control:
    """One control of a framework; ``id`` is as the framework writes it, ``beside`` what a bundle cannot show."""

    framework: str
    id: str
    requires: str
    facts: Sequence[Fact]
    beside: str = ""


_CHANGE = (Fact.REQUEST, Fact.PLAN, Fact.POLICY, Fact.APPROVAL, Fact.EFFECT, Fact.RESULT)
_SOC, _ISO, _PCI = "SOC 2", "ISO/IEC 27001:2022", "PCI DSS 4.0"
_NIST, _DORA, _SOX = "NIST SP 800-53", "DORA", "SOX ITGC"

CONTROLS = (
    Control(
        _SOC, "CC8.1", "changes are authorised, documented, tested, approved and implemented as approved",
        (*_CHANGE, Fact.END),
        "design and development: the history of the source that `summary.json` names by digest",
    ),
    Control(_ISO, "A.8.32", "changes follow a change management procedure", (*_CHANGE, Fact.REFUSAL, Fact.END)),
    Control(_ISO, "A.8.15", "logs of activities are produced, protected and kept", (Fact.RECORD, Fact.INTEGRITY)),
    Control(_ISO, "A.5.3", "conflicting duties are segregated", (Fact.REQUEST, Fact.APPROVAL, Fact.EXEMPTION)),
    Control(
        _PCI, "10.2.1", "audit logs capture administrative actions and changes", (Fact.RECORD, Fact.EFFECT),
        "accesses that are no part of a run: `mandamus audit verify` on the whole log",
    ),
    Control(
        _PCI, "10.2.2", "each entry has user, type, date and time, outcome, origin and what was affected",
        (Fact.RECORD,),
    ),
    Control(
        _PCI, "10.3", "audit logs are protected from destruction and unauthorised modification",
        (Fact.INTEGRITY,),
        "who may read them: the permissions of the home",
    ),
    Control(
        _PCI, "10.6", "time is consistent across systems", (Fact.RECORD,),
        "how the machine's clock is kept: its own configuration",
    ),
    Control(_NIST, "AU-2", "the types of events to be logged are defined", (Fact.RECORD,), "the catalogue of events"),
    Control(_NIST, "AU-3", "records say what, when, where, source, outcome and who", (Fact.RECORD,)),
    Control(_NIST, "AU-8", "records carry time stamps in UTC", (Fact.RECORD,)),
    Control(_NIST, "AU-9(3)", "audit information is protected by cryptography", (Fact.INTEGRITY,)),
    Control(_NIST, "AU-10", "who did it cannot deny it", (Fact.APPROVAL, Fact.RECORD, Fact.INTEGRITY)),
    Control(_NIST, "AU-12", "records are generated for the defined events", (Fact.RECORD, Fact.INTEGRITY)),
    Control(_NIST, "CM-3", "changes are proposed, reviewed, approved, documented and kept", (*_CHANGE, Fact.REFUSAL)),
    Control(_NIST, "CM-4", "changes are analysed for their impact before they are made", (Fact.PLAN, Fact.POLICY)),
    Control(
        _NIST, "CM-5(1)", "access to change is enforced by a mechanism, and its enforcement is recorded",
        (Fact.POLICY, Fact.REFUSAL, Fact.APPROVAL, Fact.EFFECT),
    ),
    Control(
        _DORA, "RTS 2024/1774 Art. 12", "events of change management are logged and the logs protected",
        (Fact.RECORD, Fact.INTEGRITY),
        "retention, and detection of failing logs: settings and `mandamus doctor`",
    ),
    Control(
        _DORA, "RTS 2024/1774 Art. 17", "ICT changes are recorded, assessed, approved, implemented and verified",
        (*_CHANGE, Fact.REFUSAL, Fact.END),
    ),
    Control(
        _SOX, "Change management", "changes are authorised, approved before they are made, and evidence is kept",
        (*_CHANGE, Fact.END, Fact.INTEGRITY),
    ),
    Control(
        _SOX, "Segregation of duties", "who asks for a change or makes it does not approve it",
        (Fact.REQUEST, Fact.APPROVAL, Fact.EXEMPTION, Fact.REFUSAL),
    ),
)  # fmt: skip


def held(case: Case) -> list[dict[str, Any]]:
    """For each control the leaves of this run that show its facts, by the fact's word, JSON-ready.

    A fact that the run did not need has no leaves; of what the bundle as a whole shows, all leaves are named.
    """
    leaves = _leaves(case)
    return [
        {
            "framework": control.framework,
            "id": control.id,
            "requires": control.requires,
            "facts": {fact.word: leaves[fact] for fact in control.facts},
        }
        for control in CONTROLS
    ]


def _leaves(case: Case) -> Mapping[Fact, list[int]]:
    records = [*case.records, *(record for chain in case.cited.values() for record in chain)]
    return {
        fact: sorted(record.index for record in records if not fact.kinds or record.kind in fact.kinds) for fact in Fact
    }
