"""One verb for many runs: a page says what would happen to each, another what did. Each is decided by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response

from mandamus.kernel import ids
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RUN_CLOSED, RunState
from mandamus.runs.model import Run
from mandamus.runs.service import RETRYABLE
from mandamus.serving.refusals import record
from mandamus.web.door import Pages, Visit
from mandamus.web.runs import ACTS, REASON_CHARS_MAX

RUNS_MAX = 50
"""As many as a page of the list holds."""

pages = Pages()


@dataclass(frozen=True)
class Line:
    """What would happen to a run, or did; ``problem`` is why it cannot, or could not. ``run`` is None where none is."""

    id: RunId
    run: Run | None
    words: str = ""
    problem: MandamusError | None = None


@pages.get("/runs/bulk", Permission.RUN_READ)
def ask(visit: Visit) -> Response:
    """Say of each run that was marked what would happen to it, before anything does."""
    verb, chosen = _verb(visit.query.get("verb")), _chosen(list(visit.query))
    lines = [_line(visit, each, lambda run: _would(visit, verb, run)) for each in chosen]
    return visit.page("bulk.html", verb=verb, lines=lines, done=False)


@pages.post("/runs/bulk", Permission.RUN_READ)
def act(visit: Visit) -> Response:
    """Do it to each run of the form, and say of each what happened."""
    verb, chosen, reason = _verb(visit.form.get("verb")), _chosen(list(visit.form)), visit.form.get("reason", "")
    if len(reason) > REASON_CHARS_MAX:
        raise MandamusError(Code.VALUE_INVALID, "this reason is too long", remedy="say it in fewer words")
    lines = [_line(visit, each, lambda run: _do(visit, verb, run, reason)) for each in chosen]
    return visit.page("bulk.html", verb=verb, lines=lines, done=True)


def _line(visit: Visit, run_id: RunId, words: Callable[[Run], str]) -> Line:
    run: Run | None = None
    try:
        run = visit.house.runs.glance(visit.who, run_id)
        return Line(run_id, run, words(run))
    except MandamusError as error:
        # One run's refusal is no answer of the page, so no mapper of errors sees it.
        if visit.form:
            record(visit.request, error)
        return Line(run_id, run, problem=error)


def _would(visit: Visit, verb: str, run: Run) -> str:
    if not visit.who.may(ACTS[verb], run.project, run.environment):
        raise MandamusError(Code.FORBIDDEN, f"you may not {verb} it", remedy="ask somebody who may")
    closed = run.state in RUN_CLOSED
    if verb == "cancel":
        if closed:
            raise MandamusError(Code.CONFLICT, f"it is {run.state.value}: nothing to cancel", remedy="leave it out")
        return "what waits in it ends at once, what runs is told to stop, what was applied stays"
    steps = visit.house.runs.show(visit.who, run.id).steps if closed and run.state is not RunState.SUCCEEDED else ()
    again = [row.name for row in steps if row.state in RETRYABLE]
    if not again:
        raise MandamusError(Code.CONFLICT, f"it is {run.state.value}: nothing to try again", remedy="leave it out")
    return f"{len(again)} step{'' if len(again) == 1 else 's'} of {len(steps)} planned and judged anew"


def _do(visit: Visit, verb: str, run: Run, reason: str) -> str:
    runs = visit.house.runs
    if verb == "cancel":
        runs.cancel(visit.who, run.id, reason=reason)
        return "told to stop"
    runs.retry(visit.who, run.id, reason=reason)
    return "goes on"


def _verb(text: str | None) -> str:
    if text not in ACTS:
        raise MandamusError(Code.VALUE_INVALID, "this form is not whole", remedy="mark runs in the list, and its form")
    return text


def _chosen(names: list[str]) -> list[RunId]:
    """The fields that are marks: each has the id of a run as its name."""
    found = [RunId(ids.parse("run", name)) for name in names if name.startswith("run_")]
    if not 0 < len(found) <= RUNS_MAX:
        raise MandamusError(
            Code.VALUE_INVALID, f"mark 1 to {RUNS_MAX} runs, not {len(found)}", remedy="go back to the list of runs"
        )
    return found
