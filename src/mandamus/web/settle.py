"""Settle: what is known of an effect whose end nobody knows, and the page on which somebody says what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import StepRow
from mandamus.runs.service import RunView
from mandamus.web.door import Pages, Visit, see
from mandamus.web.request import REASON_CHARS_MAX
from mandamus.web.runs import row_of, run_of

ANSWERS = {
    "succeeded": (
        "It happened",
        "The step is closed as succeeded. It has no outputs; if a later step reads them, say failed.",
    ),
    "failed": ("It happened in part, or went wrong", "The step is closed as failed, and what needs it does not run."),
    "retry": ("It surely did not happen", "The step is planned, judged and approved again, and then done."),
}
"""What can be said, in words, and what follows from it."""
KINDS = ("effect.intended", "effect.indeterminate")
EVENTS_MAX = 500

pages = Pages()


@pages.get("/runs/{run}/steps/{step}/settle", Permission.RUN_SETTLE)
def show_settle(visit: Visit) -> Response:
    """What was promised, what the probe found, and what can be said."""
    return _page(visit)


@pages.post("/runs/{run}/steps/{step}/settle", Permission.RUN_SETTLE)
def settle(visit: Visit) -> Response:
    """Take the visitor's word on it; the form says twice that somebody has looked."""
    run_id, form = run_of(visit), visit.form
    outcome, reason = form.get("outcome", ""), form.get("reason", "").replace("\r\n", "\n").strip()
    errors = {}
    if outcome not in ANSWERS:
        errors["outcome"] = "say what became of it"
    if not reason or len(reason) > REASON_CHARS_MAX:
        errors["reason"] = f"say how you know, in at most {REASON_CHARS_MAX} characters"
    if "looked" not in form:
        errors["looked"] = "look at the target first, and say that you did"
    if form.get("attempt") != str(row_of(visit.house.runs.show(visit.who, run_id), visit.path["step"]).attempt):
        raise MandamusError(Code.VALUE_INVALID, "this form is not whole", remedy="open the page again and use its form")
    if errors:
        return _page(visit, outcome, reason, errors, status=422)
    visit.house.runs.settle(visit.who, run_id, visit.path["step"], outcome, reason=reason)
    return see("runs", run_id)


def _page(
    visit: Visit,
    outcome: str = "",
    reason: str = "",
    errors: Mapping[str, str] | None = None,
    *,
    status: int = 200,
) -> Response:
    view = visit.house.runs.show(visit.who, run_of(visit))
    row = row_of(view, visit.path["step"])
    return visit.page(
        "settle.html",
        status=status,
        run=view.run,
        row=row,
        open=row.state is StepState.INDETERMINATE,
        known=_known(visit, view, row),
        answers=ANSWERS,
        outcome=outcome,
        reason=reason,
        errors=errors or {},
    )


def _known(visit: Visit, view: RunView, row: StepRow) -> dict[str, Mapping[str, Any]]:
    """The events of this attempt's promise and of its loss, by kind."""
    return {
        leaf["kind"]: leaf
        for leaf in _events(visit, view.run.id)
        if leaf["kind"] in KINDS and leaf["step"] == row.name and leaf["data"]["attempt"] == row.attempt
    }


def _events(visit: Visit, run_id: RunId) -> Iterator[Mapping[str, Any]]:
    after, found = -1, visit.house.runs.events(visit.who, run_id, -1)
    while found:
        yield from found
        after = max(leaf["seq"] for leaf in found)
        found = visit.house.runs.events(visit.who, run_id, after) if len(found) == EVENTS_MAX else []
