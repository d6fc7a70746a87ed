"""Access: policy's word on who may do what to the runs of an environment, beside their permissions."""

from __future__ import annotations

from mandamus.catalog.model import Environment
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs import gate
from mandamus.runs.model import Run
from mandamus.runs.rooms import Rooms


def check(rooms: Rooms, who: Subject, action: str, environment: Environment, run: Run | None) -> None:
    """Ask the point ``access`` where a policy set has a rule for it, and record the answer; raises ``forbidden``."""
    verdict = gate.accessing(rooms, who, action, environment, run)
    if verdict is None:
        return
    with rooms.db.begin("access") as tx:
        project = environment.project.name if environment.project else ""
        rooms.policy.record(tx, who, verdict, run.id if run else None, None, project)
    if gate.refuses(verdict):
        denied = gate.denial([verdict])
        raise MandamusError(
            Code.FORBIDDEN,
            f"policy does not let {who.user} {action} in {environment.name}\n{denied.message}",
            remedy=denied.remedy,
            context={**denied.context, "user": who.user, "permission": action},
        )


def check_run(rooms: Rooms, who: Subject, action: str, run: Run) -> None:
    """The same for a verb on a run that exists."""
    check(rooms, who, action, rooms.catalog.environment(run.environment, run.project), run)
