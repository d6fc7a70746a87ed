"""What may be asked for, as it is sent: workflows with their inputs and steps, and who would be asked about a run."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from mandamus.catalog.inputs import InputSpec
from mandamus.catalog.model import Offered
from mandamus.runs.outlook import Outlook as Kept
from mandamus.wire.base import Wire


class Input(Wire):
    """A declared input of a workflow."""

    name: str
    type: Annotated[str, Field(description="string, number, integer, boolean, list or map.")]
    required: bool
    default: Any
    pattern: Annotated[str, Field(description="A regular expression in RE2 syntax, searched in the text; or empty.")]
    enum: Annotated[list[Any], Field(description="The values that are allowed; empty for any.")]
    description: str


class WorkflowStep(Wire):
    """A step of a workflow: what it waits for, which tool it runs, and the secrets it reads, by name."""

    name: str
    needs: list[str]
    executor: str
    condition: str
    secrets: list[str]


class Workflow(Wire):
    """A workflow file of a project as it stands in its folder now; ``problem`` says why one cannot run."""

    project: str
    file: Annotated[str, Field(examples=["workflows/deploy.yaml"])]
    name: str
    description: str
    digest: Annotated[str, Field(description="Of the bytes of the file.")]
    inputs: list[Input]
    steps: list[WorkflowStep]
    problem: str


class WorkflowText(Workflow):
    """The same with the text of the file."""

    text: str


class Seat(Wire):
    """People who are asked when a rule names no other group: so many of a group, empty for anybody else."""

    group: str
    count: int
    people: Annotated[list[str], Field(description="Who of the group could say yes.")]
    barred: Annotated[list[str], Field(description="Who is in it and could not: they made part of what is judged.")]


class Outlook(Wire):
    """What the caller may expect of a request for a run of a project in an environment."""

    environment: str
    protected: bool
    policies: Annotated[list[dict[str, Any]], Field(description="Of the environment and of the project.")]
    seats: list[Seat]
    refused: Annotated[str, Field(description="Why the request would not even be taken; empty when it would.")]


def workflow(kept: Offered) -> Workflow:
    """A workflow as it is sent."""
    return Workflow(**_workflow(kept))


def workflow_text(kept: Offered) -> WorkflowText:
    """A workflow with its text."""
    return WorkflowText(**_workflow(kept), text=kept.text)


def outlook(kept: Kept) -> Outlook:
    """An outlook as it is sent."""
    return Outlook(
        environment=kept.environment.name,
        protected=kept.environment.protected,
        policies=[each.to_json() for each in kept.environment.judged_by],
        seats=[Seat(**vars(each) | {"people": list(each.people), "barred": list(each.barred)}) for each in kept.seats],
        refused=kept.refused,
    )


def _workflow(kept: Offered) -> dict[str, Any]:
    return {
        "project": kept.project,
        "file": kept.file,
        "name": kept.name,
        "description": kept.description,
        "digest": kept.digest,
        "inputs": [_input(each) for each in kept.inputs],
        "steps": [vars(each) | {"needs": list(each.needs), "secrets": list(each.secrets)} for each in kept.steps],
        "problem": kept.problem,
    }


def _input(kept: InputSpec) -> Input:
    return Input(
        name=kept.name,
        type=kept.type.value,
        required=kept.required,
        default=_plain(kept.default),
        pattern=kept.pattern,
        enum=[_plain(each) for each in kept.enum],
        description=kept.description,
    )


def _plain(value: Any) -> Any:
    """JSON as every reader takes it: a fraction is a number where that says it exactly, else text."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    return value
