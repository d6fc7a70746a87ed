"""Search over what the visitor may see: screens, runs, workflows, environments and policy sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.responses import Response

from mandamus.catalog.model import Offered
from mandamus.kernel.access import Permission
from mandamus.runs.model import Run, Wanted
from mandamus.web.catalog import shelves
from mandamus.web.door import Pages, Visit, path_of
from mandamus.web.render import SCREENS

TEXT_LENGTH_MAX = 200
OF_EACH = 6
"""So many of a kind are shown; the lists themselves have all."""

pages = Pages()


@dataclass(frozen=True)
class Hit:
    """Something with a page. ``more`` tells it from others of its name, ``state`` is that of a run."""

    href: str
    name: str
    more: str = ""
    state: str = ""


@dataclass(frozen=True)
class Group:
    """What was found of one kind."""

    name: str
    hits: tuple[Hit, ...]


@pages.get("/search", Permission.SYSTEM_READ)
def search(visit: Visit) -> Response:
    """What holds the text, a few of each kind; alone for the dialog of a page."""
    text = visit.query.get("q", "").strip()[:TEXT_LENGTH_MAX]
    groups = [group for group in _groups(visit, text) if group.hits]
    if "part" in visit.query:
        return visit.part("_found.html", groups=groups)
    return visit.page("search.html", groups=groups, text=text)


def _groups(visit: Visit, text: str) -> Iterable[Group]:
    house, who = visit.house, visit.who
    screens = [Hit(href, name) for href, name, _ in SCREENS] + [Hit("/keys", "Keys")]
    yield _named("Screens", text, screens, len(screens))
    if not text:
        return
    if Permission.RUN_READ in who.permissions:
        found = house.runs.find(who, Wanted(text=text), limit=OF_EACH).runs
        yield Group("Runs", tuple(map(_run, found)))
    if {Permission.WORKFLOW_READ, Permission.ENVIRONMENT_READ} <= who.permissions:
        offered = (each for shelf in shelves(visit) for each in shelf.workflows)
        yield _named("Workflows", text, map(_workflow, offered))
    if Permission.ENVIRONMENT_READ in who.permissions:
        names = [each.name for each in house.catalog.environments(who)]
        yield _named("Environments", text, [Hit(f"/environments/{name}", name) for name in names])
    if Permission.POLICY_READ in who.permissions:
        sets = dict.fromkeys(each.name for each in house.policy.versions(who))
        yield _named("Policy sets", text, [Hit(f"/policies/sets/{name}", name) for name in sets])


def _named(name: str, text: str, hits: Iterable[Hit], count: int = OF_EACH) -> Group:
    """Those whose name holds the text, those that begin with it first."""
    wanted = text.casefold()
    found = sorted(
        (hit for hit in hits if wanted in f"{hit.name} {hit.more}".casefold()),
        key=lambda hit: not hit.name.casefold().startswith(wanted),
    )
    return Group(name, tuple(found[:count]))


def _workflow(found: Offered) -> Hit:
    href = path_of("workflows", found.project, *found.file.split("/"))
    return Hit(href, found.name or found.file, f"{found.project}/{found.file}")


def _run(run: Run) -> Hit:
    return Hit(f"/runs/{run.id}", f"{run.workflow} to {run.environment}", run.reason or run.id, run.state.value)
