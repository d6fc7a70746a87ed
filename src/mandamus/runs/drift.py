"""What the newest plans found changed outside, and nothing has put right since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import PlanRecord

RUNS_MAX = 200
"""So many of the newest runs are looked at: what is older is no news of how things are."""


@dataclass(frozen=True)
class Planned:
    """A step with its plan, and where it belongs."""

    run: RunId
    project: str
    environment: str
    workflow: str
    requested_us: int
    step: str
    state: StepState
    plan: PlanRecord


@dataclass(frozen=True)
class Drifted:
    """The newest run of a workflow in an environment that planned: how many objects had changed outside, by step."""

    run: RunId
    project: str
    environment: str
    workflow: str
    requested_us: int
    steps: Mapping[str, int]


def drifted(planned: Iterable[Planned]) -> list[Drifted]:
    """Of steps, the newest run first: for each workflow, project and environment what its newest plan found.

    A step that was applied since has put right, or taken over, what its plan had found.
    """
    newest: dict[tuple[str, str, str], RunId] = {}
    found: dict[RunId, dict[str, int]] = {}
    first: dict[RunId, Planned] = {}
    for each in planned:
        key = (each.project, each.environment, each.workflow)
        if newest.setdefault(key, each.run) != each.run:
            continue
        first.setdefault(each.run, each)
        if each.plan.drift and each.state is not StepState.SUCCEEDED:
            found.setdefault(each.run, {})[each.step] = each.plan.drift
    return [
        Drifted(run, one.project, one.environment, one.workflow, one.requested_us, found[run])
        for run, one in first.items()
        if run in found
    ]
