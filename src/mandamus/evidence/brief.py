"""What a proved bundle says, in the order in which a person asks: for the page, the auditor's report and OSCAL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mandamus.audit.model import Checkpoint
from mandamus.evidence.case import Case, Record
from mandamus.evidence.controls import held
from mandamus.evidence.later import NOTHING, Demands
from mandamus.evidence.model import SUMMARY, BundleReport
from mandamus.evidence.verify import examine
from mandamus.kernel import canonical
from mandamus.kernel.clock import rfc3339

_ENDS = {"effect.finished": "outcome", "effect.settled": "as"}


def brief(bundle: Path, trust: str, demands: Demands = NOTHING) -> tuple[BundleReport, dict[str, Any] | None]:
    """Verify a bundle and tell what it says, JSON-ready; nothing is told of one that is not proved."""
    found = examine(bundle, trust, demands)
    if found.case is None or found.checkpoint is None:
        return found.report, None
    told = _told(found.case, found.checkpoint)
    told["notes"] = list(found.report.notes)
    told["proof"] |= {"file": bundle.name, "sha256": canonical.digest(bundle.read_bytes()).removeprefix("sha256:")}
    return found.report, told


def _told(case: Case, checkpoint: Checkpoint) -> dict[str, Any]:
    summary = case.document(SUMMARY)
    requested, last = case.requested, case.records[-1]
    decisions = [_decision(case, record) for record in case.of("decision.recorded")]
    return {
        "run": case.run,
        "state": last.data["state"],
        "workflow": summary["workflow"],
        "environment": summary["environment"],
        "source": summary["source"],
        "plan_only": summary["plan_only"],
        "requested": rfc3339(requested.at_us),
        "closed": rfc3339(last.at_us),
        "settled": case.closed,
        "requester": summary["requester"],
        "makers": summary["makers"],
        "reason": summary["reason"],
        "ticket": summary.get("ticket", ""),
        "inputs": summary["inputs"],
        "error": summary.get("error"),
        "steps": [_step(case, row) for row in summary["steps"]],
        "decisions": decisions,
        "approvals": [_vote(record) for record in case.of("approval.recorded")],
        "controls": held(case),
        "proof": {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "leaves": [record.index for record in case.records],
            "platform_key": case.platform.vkey,
        },
    }


def _step(case: Case, row: Mapping[str, Any]) -> dict[str, Any]:
    name = row["name"]
    planned = case.of_step("step.planned", name)
    named = {(document.leaf, document.what): document.file for document in case.documents}
    plan = None
    if planned:
        told = case.document(named[planned[-1].index, "change_set"])
        plan = {
            "leaf": planned[-1].index,
            "change_set": planned[-1].data["change_set"],
            "binding": planned[-1].data["binding"],
            "complete": told.get("complete", True),
            "changes": [_change(change) for change in told["changes"]],
        }
    effects = [_effect(case, record) for record in case.of_step("effect.intended", name)]
    return {
        "name": name,
        "state": row["state"],
        "attempt": row["attempt"],
        "error": row.get("error"),
        "plan": plan,
        "effects": effects,
    }


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    return {name: change.get(name) for name in ("address", "action", "destructive", "before", "after")}


def _effect(case: Case, intent: Record) -> dict[str, Any]:
    key = (intent.data["attempt"], intent.data["phase"])
    ends = [
        record
        for record in case.records
        if record.kind in _ENDS and record.step == intent.step and (record.data["attempt"], record.data["phase"]) == key
    ]
    end = ends[-1] if ends else None
    return {
        "attempt": key[0],
        "phase": key[1],
        "artifact": intent.data["artifact"],
        "intended": rfc3339(intent.at_us),
        "leaf": intent.index,
        "approvals": list(intent.approvals),
        "decisions": list(intent.decisions),
        "outcome": "unknown" if end is None else end.data[_ENDS[end.kind]],
        "ended": None if end is None else rfc3339(end.at_us),
        "end_leaf": None if end is None else end.index,
    }


def _decision(case: Case, record: Record) -> dict[str, Any]:
    told = case.document(f"decisions/{record.data['decision']}.json")
    names = ("id", "point", "step", "outcome", "violations", "warnings", "spared", "requires", "error", "attached")
    return {**{name: told[name] for name in names}, "leaf": record.index, "at": rfc3339(record.at_us)}


def _vote(record: Record) -> dict[str, Any]:
    return {
        **{name: record.data[name] for name in ("approval", "verdict", "group", "binding")},
        "step": record.step,
        "by": record.who["subject"],
        "authn": record.who["authn"],
        "reason": record.fields["why"],
        "ticket": record.data.get("ticket", ""),
        "at": rfc3339(record.at_us),
        "leaf": record.index,
    }
