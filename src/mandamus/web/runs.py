"""Runs: the list with its filters, one run as a whole, what its steps printed, and its proof."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from mandamus.kernel import ids
from mandamus.kernel.access import Permission, Subject
from mandamus.kernel.clock import moment_us, rfc3339
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import StepRow, Wanted
from mandamus.runs.service import RunView
from mandamus.web.commands import cli
from mandamus.web.door import Pages, Visit, see

LIMIT = 50
REASON_CHARS_MAX = 2_000
TEXT_LENGTH_MAX = 200
EXACT = ("environment", "project", "workflow", "requester")
FILTERS = ("text", "state", *EXACT, "since", "until")
ACTS = {"cancel": Permission.RUN_CANCEL, "retry": Permission.RUN_RETRY}
"""What can be done to many runs at once, and what it takes."""
PHASES = ("apply", "plan")
NUMBER_DIGITS_MAX = 12

pages = Pages()


@pages.get("/runs", Permission.RUN_READ)
def list_runs(visit: Visit) -> Response:
    """Runs, newest first; the address says which."""
    filters = {name: value for name, value in visit.query.items() if name in FILTERS}
    cursor = visit.query.get("cursor")
    before = None if cursor is None else RunId(ids.parse("run", cursor))
    moments: dict[str, int] = {name: moment_us(filters[name]) for name in ("since", "until") if name in filters}
    asked: dict[str, str] = {**filters, **{name: rfc3339(at_us) for name, at_us in moments.items()}}
    return visit.page(
        "runs.html",
        found=visit.house.runs.find(visit.who, _wanted(filters, moments), before=before, limit=LIMIT),
        filters=filters,
        states=[each.value for each in RunState],
        paged=cursor is not None,
        acts=[verb for verb, may in ACTS.items() if visit.who.may(may)],
        query=asked,
        command=cli("runs", "list", *(word for name, value in asked.items() for word in (f"--{name}", value))),
    )


@pages.get("/runs/{run}/evidence", Permission.EVIDENCE_READ)
def download_evidence(visit: Visit) -> Response:
    """The sealed bundle of a closed run; that it was handed out is recorded."""
    run_id = run_of(visit)
    _, data = visit.house.evidence.bundle(visit.who, run_id)
    return Response(data, media_type="application/zip", headers=attachment(f"{run_id}.zip"))


@pages.get("/runs/{run}/cancel", Permission.RUN_CANCEL)
def ask_cancel(visit: Visit) -> Response:
    """Say what cancelling means, before it is done."""
    return visit.page("act.html", run=visit.house.runs.show(visit.who, run_of(visit)).run, verb="cancel")


@pages.post("/runs/{run}/cancel", Permission.RUN_CANCEL)
def cancel(visit: Visit) -> Response:
    """Stop a run."""
    run_id = run_of(visit)
    visit.house.runs.cancel(visit.who, run_id, reason=visit.form.get("reason", ""))
    return see("runs", run_id)


@pages.get("/runs/{run}/retry", Permission.RUN_RETRY)
def ask_retry(visit: Visit) -> Response:
    """Say what trying again means, before it is done."""
    return visit.page("act.html", run=visit.house.runs.show(visit.who, run_of(visit)).run, verb="retry")


@pages.post("/runs/{run}/retry", Permission.RUN_RETRY)
def retry(visit: Visit) -> Response:
    """Try what stopped a run again."""
    run_id = run_of(visit)
    visit.house.runs.retry(visit.who, run_id, reason=visit.form.get("reason", ""))
    return see("runs", run_id)


def why_barred(who: Subject, view: RunView, row: StepRow) -> str:
    """Why the subject's yes would not count, in words; empty when it would."""
    actors = {who.user, who.behalf_of} - {None}
    if row.name not in view.asked:
        return ""
    if who.user == view.run.requester.user:
        return "you asked for this change, and nobody approves what they made"
    if actors & view.barred[row.name]:
        return "you made part of what this change is judged by, and nobody approves what they made"
    bound = row.binding.digest if row.binding else None
    if any(each.by == who.user and each.step == row.name and each.binding == bound for each in view.approvals):
        return "you have already decided on this; one person has one vote"
    return ""


def run_of(visit: Visit) -> RunId:
    """The run that the path names."""
    return RunId(ids.parse("run", visit.path["run"]))


def row_of(view: RunView, step: str) -> StepRow:
    """The step that the path names; raises ``not_found``."""
    for row in view.steps:
        if row.name == step:
            return row
    raise MandamusError(
        Code.NOT_FOUND,
        f"{view.run.id} has no step {step[:80]}",
        remedy="go back to the run and choose one",
    )


def attachment(name: str) -> dict[str, str]:
    """The headers of what is kept and not shown."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Content-Security-Policy": "sandbox"}


def _wanted(filters: Mapping[str, str], moments: Mapping[str, int]) -> Wanted:
    state = filters.get("state")
    if state is not None and state not in set(RunState):
        raise MandamusError(Code.VALUE_INVALID, f"{state[:40]!r} is no state of a run", remedy="choose one of the list")
    return Wanted(
        state=None if state is None else RunState(state),
        since_us=moments.get("since"),
        until_us=moments.get("until"),
        text=filters["text"][:TEXT_LENGTH_MAX] if "text" in filters else None,
        **{name: filters[name] for name in EXACT if name in filters},
    )


def number(visit: Visit, name: str, default: int) -> int:
    """A number of the address; raises ``value_invalid``."""
    text = visit.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > NUMBER_DIGITS_MAX:
        raise MandamusError(Code.VALUE_INVALID, f"{name} is a number", remedy="leave it out")
    return int(text)
