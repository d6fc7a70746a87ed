"""The first page: what waits for the visitor, what runs, and what went wrong."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Wanted
from mandamus.web.door import Pages, Visit

SHOWN = 8
OPEN = (RunState.INDETERMINATE, RunState.RUNNING, RunState.WAITING, RunState.REQUESTED)
WRONG = (RunState.FAILED, RunState.DENIED, RunState.REJECTED)

pages = Pages()


@pages.get("/", Permission.RUN_READ)
def show_home(visit: Visit) -> Response:
    """Everything that may need somebody, at one glance."""
    runs, who = visit.house.runs, visit.who
    under_way = [each for state in OPEN for each in runs.list(who, Wanted(state), limit=SHOWN)]
    wrong = [each for state in WRONG for each in runs.list(who, Wanted(state), limit=SHOWN)]
    wrong.sort(key=lambda each: each.id, reverse=True)
    return visit.page(
        "home.html",
        inbox=runs.inbox(who),
        under_way=under_way[:SHOWN],
        wrong=wrong[:SHOWN],
        counts={state.value: count for state, count in runs.counts(who).items()},
        any_runs=bool(runs.list(who, limit=1)),
    )
