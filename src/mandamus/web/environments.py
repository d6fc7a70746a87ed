"""Environments and projects: what may run where, who judges it, who is asked, who holds its states, what ran last."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Run, Wanted
from mandamus.web.door import Pages, Visit

LAST_OF_MAX = 50
"""Of more environments the list does not say what ran last; each one's page does."""
LOOKED_AT = 20
RUNS_SHOWN = 8

pages = Pages()


@pages.get("/environments", Permission.ENVIRONMENT_READ)
def list_environments(visit: Visit) -> Response:
    """The current version of every environment, by name, and every project."""
    found = visit.house.catalog.environments(visit.who)
    reads = visit.who.may(Permission.RUN_READ)
    last = {each.name: _deployed(visit, each.name) for each in found[:LAST_OF_MAX]} if reads else {}
    return visit.page(
        "environments.html", environments=found, last=last, projects=visit.house.catalog.projects(visit.who)
    )


@pages.get("/environments/{environment}", Permission.ENVIRONMENT_READ)
def show_environment(visit: Visit) -> Response:
    """One environment with its protection, locks and last runs; of a secret only where it comes from."""
    found = visit.house.catalog.show_environment(visit.who, visit.path["environment"])
    reads = visit.who.may(Permission.RUN_READ)
    exempt = visit.who.may(Permission.POLICY_READ)
    return visit.page(
        "environment.html",
        environment=found,
        locks=visit.house.runs.locks(visit.who, found.name),
        deployed=_deployed(visit, found.name) if reads else None,
        runs=visit.house.runs.list(visit.who, Wanted(environment=found.name), limit=RUNS_SHOWN) if reads else [],
        exemptions=visit.house.policy.exemptions.all(visit.who, found.name) if exempt else [],
    )


def _deployed(visit: Visit, environment: str) -> Run | None:
    """The newest run that changed something there and succeeded, as far as it is among the last ones."""
    wanted = Wanted(RunState.SUCCEEDED, environment=environment)
    found = visit.house.runs.list(visit.who, wanted, limit=LOOKED_AT)
    return next((run for run in found if not run.plan_only), None)
