"""Runs: the list with its filters, one run as a whole, what its steps printed, and its proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from mandamus.kernel import ids
from mandamus.kernel.access import Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.policy.model import Decision, Point
from mandamus.runs.lifecycle import RUN_CLOSED, RunState, StepState
from mandamus.runs.model import Approval, StepRow, Wanted
from mandamus.runs.service import RETRYABLE, RunView
from mandamus.serving.house import House
from mandamus.web import terminal
from mandamus.web.changes import Shown, shown
from mandamus.web.dag import HEIGHT, NODES_MAX, WIDTH, Picture, layout
from mandamus.web.door import Pages, Visit, see

LIMIT = 50
STEPS_WHOLE_MAX = 12
"""Of more steps a run's page shows the state; each has a page of its own with the rest."""
TAIL_BYTES = 8 * 1024
TAIL_LINES = 30
WINDOW_BYTES = 512 * 1024
PHASES = ("apply", "plan")

pages = Pages()


@dataclass(frozen=True)
class StepView:
    """A step as a page shows it; ``whole`` says that its change set and the rest are here."""

    row: StepRow
    whole: bool
    changes: Shown | None
    decisions: Sequence[Decision]
    approvals: Sequence[Approval]
    asked: Sequence[Any]
    barred: str
    tail: Sequence[terminal.Line]


@pages.get("/runs", Permission.RUN_READ)
def list_runs(visit: Visit) -> Response:
    """Runs, newest first; the address says which."""
    asked = visit.query
    state = asked.get("state")
    if state is not None and state not in set(RunState):
        raise MandamusError(Code.VALUE_INVALID, f"{state[:40]!r} is no state of a run", remedy="choose one of the list")
    wanted = Wanted(
        None if state is None else RunState(state),
        *(asked.get(name) for name in ("environment", "project", "workflow", "requester")),
    )
    before = RunId(ids.parse("run", asked["cursor"])) if "cursor" in asked else None
    found = visit.house.runs.list(visit.who, wanted, before=before, limit=LIMIT + 1)
    filters = {name: value for name, value in asked.items() if name in vars(wanted)}
    following = found[LIMIT - 1].id if len(found) > LIMIT else None
    return visit.page(
        "runs.html", runs=found[:LIMIT], filters=filters, states=[each.value for each in RunState], following=following
    )


@pages.get("/runs/{run}", Permission.RUN_READ)
def show_run(visit: Visit) -> Response:
    """One run: where it is, what it would change, what policy said, who is asked, what it printed."""
    return visit.page("run.html", **values(visit.house, visit.who, run_of(visit)))


@pages.get("/runs/{run}/steps/{step}", Permission.RUN_READ)
def show_step(visit: Visit) -> Response:
    """One step with all that is known of it."""
    view = visit.house.runs.show(visit.who, run_of(visit))
    row = row_of(view, visit.path["step"])
    return visit.page("step.html", view=view, run=view.run, step=step_view(visit.house, visit.who, view, row))


@pages.get("/runs/{run}/steps/{step}/log", Permission.RUN_READ)
def show_log(visit: Visit) -> Response:
    """What a step printed: the last 2,000 lines, and from there back, window by window."""
    view = visit.house.runs.show(visit.who, run_of(visit))
    row = row_of(view, visit.path["step"])
    phase, attempt = _phase(visit), _number(visit, "attempt", row.attempt)
    end = _number(visit, "to", 0)
    start = max(end - WINDOW_BYTES, 0) if end else -WINDOW_BYTES
    start, data = _read(visit.house, visit.who, view, row.name, phase, attempt, start, end or None)
    lines = terminal.lines(data, start)
    first = lines[0].at if lines else 0
    return visit.page(
        "log.html", run=view.run, step=row, phase=phase, phases=PHASES, attempt=attempt, lines=lines,
        earlier=first if first > 0 else None,
    )  # fmt: skip


@pages.get("/runs/{run}/steps/{step}/log.txt", Permission.RUN_READ)
def download_log(visit: Visit) -> Response:
    """All that a step printed, as a file."""
    view = visit.house.runs.show(visit.who, run_of(visit))
    row = row_of(view, visit.path["step"])
    phase, attempt = _phase(visit), _number(visit, "attempt", row.attempt)
    _, data = _read(visit.house, visit.who, view, row.name, phase, attempt, 0, None)
    name = f"{view.run.id}-{phase}-{attempt}.txt"
    return Response(data, media_type="text/plain; charset=utf-8", headers=attachment(name))


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


def values(house: House, who: Subject, run_id: RunId) -> dict[str, Any]:
    """What the page of a run is made of, also each time that something happens to it."""
    view = house.runs.show(who, run_id)
    said = _decisions(house, who, run_id)
    whole = len(view.steps) <= STEPS_WHOLE_MAX
    open_log = whole and not _log_is_guarded(house, view)
    steps = [_step(house, who, view, row, said, whole=whole, open_log=open_log) for row in view.steps]
    return {
        "view": view,
        "run": view.run,
        "steps": steps,
        "decisions": [each for each in said if each.step is None],
        "picture": _picture(view),
        "box": (WIDTH, HEIGHT),
        "closed": view.run.state in RUN_CLOSED,
        "retryable": view.run.state in RUN_CLOSED and any(row.state in RETRYABLE for row in view.steps),
    }


def step_view(house: House, who: Subject, view: RunView, row: StepRow) -> StepView:
    """One step of a run, as a whole."""
    said = _decisions(house, who, view.run.id)
    return _step(house, who, view, row, said, whole=True, open_log=not _log_is_guarded(house, view))


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


def _step(
    house: House,
    who: Subject,
    view: RunView,
    row: StepRow,
    said: Sequence[Decision],
    *,
    whole: bool,
    open_log: bool,
) -> StepView:
    given = [each for each in view.approvals if each.step == row.name]
    asked = view.asked.get(row.name, ())
    changes = shown(house.runs.change_set(who, view.run.id, row.name)) if whole and row.plan else None
    tail = _tail(house, who, view, row) if open_log and row.state is not StepState.PENDING else []
    decisions = [each for each in said if each.step == row.name]
    return StepView(row, whole, changes, decisions, given, asked, why_barred(who, view, row), tail)


def _decisions(house: House, who: Subject, run_id: RunId) -> list[Decision]:
    return house.policy.decisions(who, run_id) if Permission.POLICY_READ in who.permissions else []


def _picture(view: RunView) -> Picture | None:
    if not 1 < len(view.steps) <= NODES_MAX:
        return None
    return layout([row.name for row in view.steps], view.needs)


def _log_is_guarded(house: House, view: RunView) -> bool:
    """Whether a policy is asked about each look at output, which is an event: then nobody looks without saying so."""
    environment = house.catalog.environment(view.run.environment, view.run.project)
    return house.policy.asks(Point.ACCESS, environment.judged_by)


def _tail(house: House, who: Subject, view: RunView, row: StepRow) -> list[terminal.Line]:
    for phase in PHASES:
        piece = house.runs.logs(who, view.run.id, row.name, phase=phase, attempt=row.attempt, offset=-TAIL_BYTES)
        if piece.data:
            return terminal.lines(piece.data, piece.next_offset - len(piece.data), TAIL_LINES)
    return []


def _read(
    house: House, who: Subject, view: RunView, step: str, phase: str, attempt: int, start: int, end: int | None
) -> tuple[int, bytes]:
    """Where the output begins and what it is, from an offset up to another or to the end of what there is."""
    parts: list[bytes] = []
    read = house.runs.follow_log(who, view.run.id, step, phase=phase, attempt=attempt)
    piece = read(start)
    begin = piece.next_offset - len(piece.data)
    while piece.data and (end is None or piece.next_offset < end):
        parts.append(piece.data)
        piece = read(piece.next_offset)
    parts.append(piece.data)
    data = b"".join(parts)
    return begin, data if end is None else data[: end - begin]


def _phase(visit: Visit) -> str:
    phase = visit.query.get("phase", PHASES[0])
    if phase not in PHASES:
        raise MandamusError(Code.VALUE_INVALID, "that is no phase of a step", remedy="it is plan or apply")
    return phase


def _number(visit: Visit, name: str, default: int) -> int:
    text = visit.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 12:
        raise MandamusError(Code.VALUE_INVALID, f"{name} is a number", remedy="leave it out")
    return int(text)
