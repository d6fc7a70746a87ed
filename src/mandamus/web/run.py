"""The page of a run: where it is, what it would change, what policy said, who is asked, what it printed, its proof.

It stays small: a few steps are shown whole, many as rows, very many of them a page at a time, and none beyond a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.kernel.ids import RunId
from mandamus.policy.model import Decision, Point
from mandamus.runs.lifecycle import RUN_CLOSED, StepState
from mandamus.runs.model import Approval, StepRow
from mandamus.runs.service import RETRYABLE, RunView
from mandamus.serving.house import House
from mandamus.web import groups, terminal
from mandamus.web.changes import Shown, shown
from mandamus.web.dag import HEIGHT, NODES_MAX, WIDTH, Picture, layout
from mandamus.web.door import Pages, Visit
from mandamus.web.groups import Chosen, Group
from mandamus.web.runs import PHASES, number, row_of, run_of, why_barred
from mandamus.web.timeline import Timeline, timeline

STEPS_WHOLE_MAX = 12
"""Of more steps a run's page shows the state; each has a page of its own with the rest."""
ROWS = 40
ASKED_MAX = 10
CHANGES_CHARS = 24 * 1024
TAIL_BYTES = 12 * 1024
TAIL_BYTES_OF_ONE = 8 * 1024
TAIL_LINES = 30
SAID_MAX = 24
"""What the steps that are shown whole share: characters of changes, bytes of output, violations of policy."""
SAID_OF_ONE = 100

pages = Pages()


@dataclass(frozen=True)
class StepView:
    """A step as a page shows it; ``whole`` says that its change set and the rest are here.

    Of a decision ``said_max`` violations are shown. ``tail`` are the last lines of what a phase printed.
    """

    row: StepRow
    whole: bool
    changes: Shown | None
    decisions: Sequence[Decision]
    said_max: int
    approvals: Sequence[Approval]
    asked: Sequence[Any]
    barred: str
    tail: Sequence[terminal.Line]
    tail_phase: str


@dataclass(frozen=True)
class Drawn:
    """The picture of a run: of steps, or of groups where there are too many; the state and the link of each node."""

    picture: Picture
    groups: Mapping[str, Group]
    states: Mapping[str, str]
    by: str = ""


@dataclass(frozen=True)
class Part:
    """The steps of a large run that are shown: what was asked for, page ``number`` of ``pages``, ``count`` in all."""

    wanted: Chosen
    number: int
    pages: int
    count: int


@pages.get("/runs/{run}", Permission.RUN_READ)
def show_run(visit: Visit) -> Response:
    """One run as a whole; of a large one the address says which steps."""
    return visit.page("run.html", **values(visit, run_of(visit)))


@pages.get("/runs/{run}/steps/{step}", Permission.RUN_READ)
def show_step(visit: Visit) -> Response:
    """One step with all that is known of it."""
    view = visit.house.runs.show(visit.who, run_of(visit))
    row = row_of(view, visit.path["step"])
    times = _times(visit, view, [row])
    return visit.page("step.html", view=view, run=view.run, step=step_view(visit, view, row), times=times)


def values(visit: Visit, run_id: RunId) -> dict[str, Any]:
    """What the page of a run is made of, also each time that something happens to it."""
    view = visit.house.runs.show(visit.who, run_id)
    whole = len(view.steps) <= STEPS_WHOLE_MAX
    wanted = groups.chosen(visit.query)
    picked = groups.pick(view.steps, view.needs, wanted)
    part = _part(wanted, len(picked), number(visit, "page", 1))
    rows = picked if whole else picked[(part.number - 1) * ROWS : part.number * ROWS]
    said = _decisions(visit, run_id, None if whole else [None])
    open_log = whole and not _log_is_guarded(visit.house, view)
    shares = max(len(rows), 1)
    steps = [_step(visit, view, row, said, shares=shares if whole else 0, open_log=open_log) for row in rows]
    asks = [row for row in view.steps if row.name in view.asked]
    return {
        "view": view,
        "run": view.run,
        "steps": steps,
        "whole": whole,
        "part": part,
        "states": [state.value for state in StepState],
        "groupings": groups.WAYS,
        "asks": [(row.name, view.asked[row.name], why_barred(visit.who, view, row)) for row in asks[:ASKED_MAX]],
        "asks_more": max(len(asks) - ASKED_MAX, 0),
        "decisions": [each for each in said if each.step is None],
        "said_max": SAID_MAX,
        "drawn": _drawn(view, picked, wanted),
        "nodes_max": NODES_MAX,
        "box": (WIDTH, HEIGHT),
        "times": _times(visit, view, rows),
        "closed": view.run.state in RUN_CLOSED,
        "retryable": view.run.state in RUN_CLOSED and any(row.state in RETRYABLE for row in view.steps),
        "again": view.run.state in RUN_CLOSED
        and view.run.project != ""
        and visit.who.may(Permission.RUN_REQUEST, view.run.project, view.run.environment),
    }


def step_view(visit: Visit, view: RunView, row: StepRow) -> StepView:
    """One step of a run, as a whole."""
    said = _decisions(visit, view.run.id, [row.name])
    return _step(visit, view, row, said, shares=1, open_log=not _log_is_guarded(visit.house, view))


def _step(
    visit: Visit, view: RunView, row: StepRow, said: Sequence[Decision], *, shares: int, open_log: bool
) -> StepView:
    """A step with its share of what the page has room for; without one only where it is."""
    given = [each for each in view.approvals if each.step == row.name]
    changes: Shown | None = None
    phase: str = ""
    tail: Sequence[terminal.Line] = ()
    if shares and row.plan:
        room = None if shares == 1 else CHANGES_CHARS // shares
        changes = shown(visit.house.runs.change_set(visit.who, view.run.id, row.name), room)
    if open_log and row.state is not StepState.PENDING:
        phase, tail = _tail(visit, view, row, min(TAIL_BYTES // shares, TAIL_BYTES_OF_ONE))
    return StepView(
        row=row,
        whole=shares > 0,
        changes=changes,
        decisions=[each for each in said if each.step == row.name],
        said_max=SAID_OF_ONE if shares == 1 else SAID_MAX // max(shares, 1),
        approvals=given,
        asked=view.asked.get(row.name, ()),
        barred=why_barred(visit.who, view, row),
        tail=tail,
        tail_phase=phase,
    )


def _part(wanted: Chosen, count: int, asked: int) -> Part:
    pages_ = max(-(-count // ROWS), 1)
    return Part(wanted, min(max(asked, 1), pages_), pages_, count)


def _drawn(view: RunView, picked: Sequence[StepRow], wanted: Chosen) -> Drawn | None:
    """Steps, or groups of them where there are more than a picture can show."""
    if len(view.steps) < 2 or not picked:
        return None
    if len(picked) <= NODES_MAX:
        states = {row.name: row.state.value for row in picked}
        needs = {name: [need for need in view.needs.get(name, ()) if need in states] for name in states}
        return Drawn(layout(list(states), needs), {}, states)
    if wanted.group:
        return None
    way, names = groups.naming(view.steps, view.needs, wanted.by)
    found = {each.name: each for each in groups.groups(picked, names)}
    needs = {} if way == "state" else groups.between(found.values(), view.needs)
    states = {name: each.state for name, each in found.items()}
    return Drawn(layout(list(found), needs), found, states, way)


def _times(visit: Visit, view: RunView, rows: Sequence[StepRow]) -> Timeline | None:
    run = view.run
    # A step was queued until the last that it needs had ended.
    names = {name for row in rows for name in (row.name, *view.needs.get(row.name, ()))}
    leaves = visit.house.runs.events(visit.who, run.id, -1, steps=sorted(names))
    return timeline(rows, view.needs, leaves, run.requested_us, run.closed_us or visit.house.clock.now_us())


def _decisions(visit: Visit, run_id: RunId, steps: Sequence[str | None] | None) -> list[Decision]:
    if Permission.POLICY_READ not in visit.who.permissions:
        return []
    return visit.house.policy.decisions(visit.who, run_id, steps=steps, inputs=False)


def _log_is_guarded(house: House, view: RunView) -> bool:
    """Whether a policy is asked about each look at output, which is an event: then nobody looks without saying so."""
    environment = house.catalog.environment(view.run.environment, view.run.project)
    return house.policy.asks(Point.ACCESS, environment.judged_by)


def _tail(visit: Visit, view: RunView, row: StepRow, room: int) -> tuple[str, Sequence[terminal.Line]]:
    """The last lines that the step printed, and in which phase."""
    for phase in PHASES:
        piece = visit.house.runs.logs(visit.who, view.run.id, row.name, phase=phase, attempt=row.attempt, offset=-room)
        if piece.data:
            return phase, terminal.lines(piece.data, piece.next_offset - len(piece.data), TAIL_LINES)
    return "", ()
