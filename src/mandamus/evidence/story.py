"""Whether the events of a run and its documents tell one story: request, documents, plans, ends."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mandamus.audit.model import Verdict
from mandamus.evidence.case import Case, Record
from mandamus.evidence.model import (
    FIXED,
    LATER,
    LOST,
    OPENED,
    SUMMARY,
    WORKFLOW,
    Document,
    approval_file,
    exemption_stream,
    exemptions_named,
    leaf_file,
    proof_file,
)
from mandamus.kernel import canonical

BINDING_FORMAT = "binding/1"
_RESTS = {
    "step.planned": "planned",
    "step.waiting": "waiting",
    "step.retrying": "pending",
    "effect.intended": "applying",
    "effect.indeterminate": LOST,
}
"""What an event makes of its step while the run has not ended."""
PASSED = frozenset({"succeeded", "skipped"})


def check_documents(case: Case) -> None:
    """Every document that a leaf names is there and has the digest; nothing else is there."""
    known = {*FIXED, *LATER, leaf_file(OPENED), proof_file(OPENED)}
    by_index = {record.index: record for record in case.records}
    for document in case.documents:
        known.add(document.file)
        record = by_index[document.leaf]
        with case.reading(record, document.file):
            if document.file not in case.files and document.what == "policy set" and _excused(case, document, record):
                # Policy that could not be read denied for that reason, and cannot be shown.
                continue
            if case.digest(document.file, record) != document.digest:
                why = f"it is not the {document.what} that leaf {document.leaf} names, {document.digest}"
                case.wrong(why, record, document.file)
    for record in case.records:
        known |= {leaf_file(record.index), proof_file(record.index)}
        if record.kind == "approval.recorded":
            with case.reading(record):
                known.add(approval_file(record.data["approval"]))
    for stream in sorted(_named_streams(case)):
        for record in case.cited.get(stream, ()):
            known |= {leaf_file(record.index), proof_file(record.index)}
    for file in sorted(case.files.keys() - known):
        case.wrong("no leaf of the run names it", None, file)
    for file in sorted(FIXED):
        with case.reading(None, file):
            case.content(file)


def check_request(case: Case) -> None:
    """The summary and the workflow are those that were asked for, and the run ended as the summary says."""
    first, last = case.records[0], case.records[-1]
    if first.kind != "run.requested":
        case.wrong(f"a run begins with run.requested, not {first.kind}", first)
        return
    with case.reading(first, SUMMARY):
        summary, asked, who = case.document(SUMMARY), first.data, first.who
        pairs = {
            "run": (summary["id"], case.run),
            "workflow": (summary["workflow"], asked["workflow"]),
            "workflow digest": (summary["workflow_digest"], asked["workflow_digest"]),
            "source": (summary["source"], asked["source"]),
            "environment": (summary["environment"], asked["environment"]),
            "inputs": (canonical.digest_of(summary["inputs"]), asked["inputs"]),
            "plan_only": (summary["plan_only"], asked["plan_only"]),
            "reason": (summary["reason"], first.fields["why"]),
            "ticket": (summary.get("ticket", ""), asked.get("ticket", "")),
            "requester": (summary["requester"]["user"], who["subject"]),
            "requester's identity": (summary["requester"]["authn"], who["authn"]),
            "requester's principal": (summary["requester"]["behalf_of"], who["behalf_of"]),
            "requester's groups": (sorted(summary["requester"]["groups"]), sorted(who["groups"])),
        }
        _compare(case, first, SUMMARY, pairs)
        _compare(case, last, SUMMARY, {"state": (summary["state"], last.data["state"])})
        if (last.data["state"] == LOST) is case.closed:
            case.wrong(f"a run does not end with {last.kind} as {last.data['state']}", last)
    with case.reading(first, WORKFLOW):
        if canonical.digest(case.content(WORKFLOW)) != first.data["workflow_digest"]:
            case.wrong(f"it is not the workflow that was asked for, {first.data['workflow_digest']}", first, WORKFLOW)


def check_ends(case: Case) -> None:
    """A run that has closed goes on only when somebody has it tried again."""
    for record, following in pairwise(case.records):
        if record.kind == "run.closed" and following.kind != "run.retried":
            case.wrong(f"the run goes on with {following.kind} after it has closed", following)


def check_plans(case: Case) -> None:
    """Every binding that people or the apply could stand on is of this run, its step and its newest plan."""
    named = {(document.leaf, document.what): document.file for document in case.documents}
    for record in case.records:
        if record.kind not in ("step.planned", "step.waiting"):
            continue
        with case.reading(record):
            file = named[record.index, "binding"]
            planned = record if record.kind == "step.planned" else case.last("step.planned", record.step, record)
            if planned is None or planned.data["attempt"] != record.data["attempt"]:
                case.wrong("the step waits without a plan", record)
                continue
            with case.reading(record, file):
                _check_binding(case, record, planned, file)


def check_steps(case: Case) -> None:
    """Every step ended as the summary says, and the run as its steps."""
    with case.reading(None, SUMMARY):
        summary = case.document(SUMMARY)
        rows = {row["name"]: row for row in summary["steps"]}
        for name in sorted({record.step for record in case.records if record.step} - rows.keys()):
            case.wrong(f"it does not name the step {name}", None, SUMMARY)
        for name, row in rows.items():
            _check_step(case, name, row, plan_only=summary["plan_only"])
        if summary["state"] == "succeeded":
            for name, row in rows.items():
                if row["state"] not in PASSED:
                    case.wrong(f"the run succeeded although its step {name} is {row['state']}", None, SUMMARY)


def _check_step(case: Case, name: str, row: Mapping[str, Any], *, plan_only: bool) -> None:
    if not case.closed:
        _check_resting(case, name, row)
        return
    ends = [*case.of_step("step.finished", name), *(case.of_step("step.planned", name) if plan_only else ())]
    if not ends:
        case.wrong(f"no leaf tells how the step {name} ended", None, SUMMARY, Verdict.INCOMPLETE)
        return
    end = max(ends, key=lambda record: record.index)
    state = end.data["state"] if end.kind == "step.finished" else "planned"
    pairs = {"state": (row["state"], state), "attempt": (row["attempt"], end.data["attempt"])}
    _compare(case, end, SUMMARY, {f"{what} of the step {name}": pair for what, pair in pairs.items()})


def _check_resting(case: Case, name: str, row: Mapping[str, Any]) -> None:
    """A step of a run that is not settled stands where its newest event left it."""
    state, newest = "pending", case.records[-1]
    for record in case.records:
        if record.kind == "run.retried" and name in record.data["steps"]:
            state, newest = "pending", record
        elif record.step == name and record.kind == "step.finished":
            state, newest = record.data["state"], record
        elif record.step == name and record.kind == "step.moved":
            state, newest = "pending" if record.data["then"] == "plan" else "waiting", record
        elif record.step == name and record.kind in _RESTS:
            state, newest = _RESTS[record.kind], record
    pairs = {f"state of the step {name}": (row["state"], state)}
    if state != "pending":
        pairs[f"attempt of the step {name}"] = (row["attempt"], newest.data["attempt"])
    _compare(case, newest, SUMMARY, pairs)


def _check_binding(case: Case, record: Record, planned: Record, file: str) -> None:
    binding, asked = case.document(file), case.requested.data
    pairs = {
        "format": (binding["format"], BINDING_FORMAT),
        "run": (binding["run"], case.run),
        "step": (binding["step"], record.step),
        "source": (binding["source"], asked["source"]),
        "workflow": (binding["workflow"], asked["workflow_digest"]),
        "inputs": (binding["inputs"], asked["inputs"]),
        "change set": (binding["change_set"], planned.data["change_set"]),
        "artifact": (binding["artifact"], planned.data["artifact"]),
    }
    if record.kind == "step.waiting":
        pairs["expiry"] = (binding["expires_us"], record.data["expires_us"])
    _compare(case, record, file, pairs)
    if binding["sandbox"] == "none" and record is planned:
        case.notes.append(f"step {record.step} is bound to run without a sandbox (leaf {record.index})")


def _excused(case: Case, document: Document, record: Record) -> bool:
    """Whether the decision needs not the set it could not read: it denied for that reason, or the set bound nobody."""
    if record.data["outcome"] == "deny":
        return True
    attached = case.document(f"decisions/{record.data['decision']}.json")["attached"]
    return all(one["level"] in ("advisory", "shadow") for one in attached if one["set"] == document.digest)


def _named_streams(case: Case) -> set[str]:
    """The streams of the exemptions that decisions name."""
    found: set[str] = set()
    for document in case.documents:
        if document.what == "decision":
            with case.reading(None, document.file):
                found |= {exemption_stream(one) for one in exemptions_named(case.document(document.file))}
    return found


def _compare(case: Case, record: Record, file: str, pairs: Mapping[str, tuple[object, object]]) -> None:
    for what, (held, told) in pairs.items():
        if held != told:
            case.wrong(f"its {what} is {held}, and leaf {record.index} says {told}", record, file)
