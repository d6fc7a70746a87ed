"""Approvals: what waits for the visitor's own word, and the page on which they say it."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.kernel import ids
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, RunId, is_digest
from mandamus.runs import step_up
from mandamus.runs.lifecycle import RunState, StepState
from mandamus.runs.model import Wanted
from mandamus.web import run, runs
from mandamus.web.changes import ORDER
from mandamus.web.door import Pages, Visit, see
from mandamus.web.risk import glance

LIMIT = 50
MINE = 8

pages = Pages()


@pages.get("/approvals", Permission.RUN_READ)
def list_approvals(visit: Visit) -> Response:
    """Runs that wait for the visitor, newest first, and those of theirs that wait for others; or the count alone."""
    if visit.query.get("part") == "count":
        return visit.text(visit.waiting() or "")
    cursor = visit.query.get("cursor")
    before = None if cursor is None else RunId(ids.parse("run", cursor))
    found = visit.house.runs.inbox(visit.who, before=before, limit=LIMIT + 1)
    mine = Wanted(RunState.WAITING, requester=visit.who.user)
    return visit.page(
        "approvals.html",
        inbox=found[:LIMIT],
        following=found[LIMIT - 1].run.id if len(found) > LIMIT else None,
        mine=visit.house.runs.list(visit.who, mine, limit=MINE),
        order=[action.value for action in ORDER],
    )


@pages.get("/runs/{run}/steps/{step}/decide", Permission.RUN_DECIDE)
def show_decide(visit: Visit) -> Response:
    """What the visitor would say yes or no to."""
    return _page(visit, None)


@pages.post("/runs/{run}/steps/{step}/decide", Permission.RUN_DECIDE)
def decide(visit: Visit) -> Response:
    """Take the visitor's word on exactly what was shown to them; what has moved since is refused."""
    run_id, step, form = runs.run_of(visit), visit.path["step"], visit.form
    verdict, binding, reason = form.get("verdict", ""), form.get("binding", ""), form.get("reason", "")
    if verdict not in {"approve", "reject"} or not is_digest(binding) or len(reason) > runs.REASON_CHARS_MAX:
        raise MandamusError(Code.VALUE_INVALID, "this form is not whole", remedy="open the page again and use its form")
    say = visit.house.runs.approve if verdict == "approve" else visit.house.runs.reject
    group = form.get("group") if form.get("group_given") else None
    try:
        say(visit.who, run_id, step=step, reason=reason, group=group, binding=Digest(binding))
    except MandamusError as error:
        if error.code is not Code.APPROVAL_REFUSED:
            raise
        return _page(visit, error)
    return see("runs", run_id)


def _page(visit: Visit, error: MandamusError | None) -> Response:
    view = visit.house.runs.show(visit.who, runs.run_of(visit))
    step = run.step_view(visit, view, runs.row_of(view, visit.path["step"]))
    where = visit.house.catalog.show_environment(visit.who, view.run.environment)
    return visit.page(
        "decide.html",
        step_up=where.step_up,
        sign_in_lacks=step_up.missing_of(where, visit.who, visit.house.clock.now_us()),
        status=200 if error is None else error.code.http_status,
        view=view,
        run=view.run,
        step=step,
        waiting=step.row.state is StepState.WAITING and step.row.binding is not None,
        risks=glance(step.changes, step.decisions, step.asked, protected=where.protected),
        error=error,
    )
