"""Workflows: those of every project that the visitor may know of, and each with its text, inputs, steps and runs."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.catalog.model import Offered
from mandamus.kernel.access import Permission
from mandamus.runs.model import Wanted
from mandamus.web.catalog import may_ask, shelves
from mandamus.web.dag import HEIGHT, NODES_MAX, WIDTH, Picture, layout
from mandamus.web.door import Pages, Visit

LAST = 8
LINES_MAX = 3_000

pages = Pages()


@pages.get("/workflows", Permission.WORKFLOW_READ)
def list_workflows(visit: Visit) -> Response:
    """Every workflow file by project, also those that cannot run, with why."""
    return visit.page("workflows.html", shelves=shelves(visit))


@pages.get("/workflows/{project}/{file:path}", Permission.WORKFLOW_READ)
def show_workflow(visit: Visit) -> Response:
    """One workflow file as it is now."""
    found = visit.house.catalog.show_workflow(visit.who, visit.path["project"], visit.path["file"])
    lines = found.text.splitlines()
    asks = may_ask(visit, found.project) if visit.who.may(Permission.RUN_REQUEST, found.project) else []
    reads_runs = visit.who.may(Permission.RUN_READ, found.project)
    wanted = Wanted(project=found.project, workflow=found.name)
    return visit.page(
        "workflow.html",
        workflow=found,
        lines=lines[:LINES_MAX],
        more=max(len(lines) - LINES_MAX, 0),
        picture=_picture(found),
        box=(WIDTH, HEIGHT),
        environments=asks,
        runs=visit.house.runs.list(visit.who, wanted, limit=LAST) if reads_runs and found.name else [],
    )


def _picture(found: Offered) -> Picture | None:
    if not 1 < len(found.steps) <= NODES_MAX:
        return None
    return layout([step.name for step in found.steps], {step.name: step.needs for step in found.steps})
