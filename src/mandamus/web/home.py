"""The first page: what waits for the visitor, what runs, what went wrong, what drifted, and what was held back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.policy.model import Listed, Outcome, Point
from mandamus.policy.model import Wanted as Decisions
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Run, Wanted
from mandamus.web.door import Pages, Visit

SHOWN = 8
UNDER_WAY = (RunState.RUNNING, RunState.WAITING, RunState.REQUESTED)
WRONG = (RunState.FAILED, RunState.DENIED, RunState.REJECTED)
HELD_US = 7 * 24 * 3600 * 1_000_000
"""How far back it is told that policy said no right before an apply."""

pages = Pages()


@pages.get("/", Permission.RUN_READ)
def show_home(visit: Visit) -> Response:
    """Everything that may need somebody, at one glance."""
    runs, who = visit.house.runs, visit.who
    return visit.page(
        "home.html",
        inbox=runs.inbox(who, limit=SHOWN),
        under_way=_newest(visit, UNDER_WAY),
        wrong=_newest(visit, WRONG),
        unknown=_newest(visit, [RunState.INDETERMINATE]),
        drifted=runs.drifted(who)[:SHOWN],
        held=_held_back(visit),
        counts={state.value: count for state, count in runs.counts(who).items()},
        any_runs=bool(runs.list(who, limit=1)),
    )


def _newest(visit: Visit, states: Iterable[RunState]) -> list[Run]:
    found = [each for state in states for each in visit.house.runs.list(visit.who, Wanted(state), limit=SHOWN)]
    return sorted(found, key=lambda each: each.id, reverse=True)[:SHOWN]


def _held_back(visit: Visit) -> Sequence[Listed]:
    """What policy said no to right before the apply, where freezes and windows say it, in the last days."""
    if Permission.POLICY_READ not in visit.who.permissions:
        return ()
    since_us = visit.house.clock.now_us() - HELD_US
    wanted = Decisions(point=Point.APPLY, outcome=Outcome.DENY, since_us=since_us)
    return visit.house.policy.page(visit.who, wanted, before=None, limit=SHOWN)
