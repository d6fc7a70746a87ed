"""The catalog: every workflow that the visitor may ask for, what it does, what it takes, and where it may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from mandamus.catalog.model import Environment, Offered
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.web.door import Pages, Visit
from mandamus.web.runs import number

CARDS = 60

pages = Pages()


@dataclass(frozen=True)
class Shelf:
    """What one project offers; ``trouble`` says why its folder could not be read."""

    project: str
    workflows: Sequence[Offered]
    trouble: MandamusError | None = None


@dataclass(frozen=True)
class Card:
    """A workflow that can be asked for, and the environments where the visitor may ask for it."""

    workflow: Offered
    environments: Sequence[Environment]


@pages.get("/catalog", Permission.RUN_REQUEST)
def list_catalog(visit: Visit) -> Response:
    """A card for each workflow; the address says of which project, and which words stand on it."""
    wanted, words = visit.query.get("project", ""), visit.query.get("text", "")
    found, page = shelves(visit), max(number(visit, "page", 1), 1)
    cards = [
        Card(workflow, environments)
        for shelf in found
        if wanted in {"", shelf.project} and (environments := may_ask(visit, shelf.project))
        for workflow in shelf.workflows
        if not workflow.problem and _has(workflow, words)
    ]
    return visit.page(
        "catalog.html",
        cards=cards[(page - 1) * CARDS : page * CARDS],
        page=page,
        following=page + 1 if len(cards) > page * CARDS else None,
        projects=[shelf.project for shelf in found],
        troubles=[shelf for shelf in found if shelf.trouble],
        filters={name: value for name, value in (("project", wanted), ("text", words)) if value},
    )


def shelves(visit: Visit) -> list[Shelf]:
    """What the projects offer whose workflows the visitor may read, by name."""
    found = visit.house.catalog.projects(visit.who)
    return [_shelf(visit, each.name) for each in found if visit.who.may(Permission.WORKFLOW_READ, each.name)]


def may_ask(visit: Visit, project: str) -> list[Environment]:
    """The environments where the visitor may ask for a run of a project's workflows."""
    found = visit.house.catalog.environments(visit.who)
    return [each for each in found if visit.who.may(Permission.RUN_REQUEST, project, each.name)]


def _shelf(visit: Visit, project: str) -> Shelf:
    try:
        return Shelf(project, visit.house.catalog.workflows(visit.who, project))
    except MandamusError as error:
        if error.code is not Code.SOURCE_INVALID:
            raise
        return Shelf(project, (), error)


def _has(workflow: Offered, words: str) -> bool:
    shown = f"{workflow.name} {workflow.file} {workflow.project} {workflow.description}".casefold()
    return all(word in shown for word in words.casefold().split())
