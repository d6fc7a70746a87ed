"""Routes of what may run and where."""

from __future__ import annotations

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel.access import Permission
from mandamus.wire import catalog
from mandamus.wire import governance as wire
from mandamus.wire.base import Page

routes = Routes("catalog")


@routes.verb("GET", "/projects", Permission.ENVIRONMENT_READ)
def list_projects(house: TheHouse, who: Who) -> Page[wire.Project]:
    """Every registered project, by name."""
    return Page(items=[wire.project(each) for each in house.catalog.projects(who)])


@routes.verb("GET", "/projects/{project}/workflows", Permission.WORKFLOW_READ)
def list_workflows(house: TheHouse, who: Who, project: given.Project) -> Page[catalog.Workflow]:
    """Every workflow of a project as its folder is now, by file, with what it takes and does."""
    return Page(items=[catalog.workflow(each) for each in house.catalog.workflows(who, project)])


@routes.verb("GET", "/projects/{project}/workflows/{workflow:path}", Permission.WORKFLOW_READ)
def get_workflow(house: TheHouse, who: Who, project: given.Project, workflow: given.Workflow) -> catalog.WorkflowText:
    """One workflow by its path in the project, with the text of its file."""
    return catalog.workflow_text(house.catalog.show_workflow(who, project, workflow))


@routes.verb("GET", "/projects/{project}/environments/{environment}/outlook", Permission.RUN_REQUEST)
def get_outlook(house: TheHouse, who: Who, project: given.Project, environment: given.Environment) -> catalog.Outlook:
    """Who would be asked about a run of the project in the environment, if the caller asked for one."""
    return catalog.outlook(house.runs.outlook(who, environment, project))


@routes.verb("GET", "/environments", Permission.ENVIRONMENT_READ)
def list_environments(house: TheHouse, who: Who) -> Page[wire.Environment]:
    """The current version of every environment, by name."""
    return Page(items=[wire.environment(each) for each in house.catalog.environments(who)])


@routes.verb("GET", "/environments/{environment}", Permission.ENVIRONMENT_READ)
def get_environment(house: TheHouse, who: Who, environment: given.Environment) -> wire.Environment:
    """The current version of one environment."""
    return wire.environment(house.catalog.show_environment(who, environment))


@routes.verb("GET", "/environments/{environment}/locks", Permission.ENVIRONMENT_READ)
def list_locks(house: TheHouse, who: Who, environment: given.Environment) -> Page[wire.Lock]:
    """The states of an environment that steps hold now, by name, of runs that the caller may read."""
    return Page(items=[wire.lock(each) for each in house.runs.locks(who, environment)])
