"""Outlook: before anything is asked for, who would be asked about it in an environment, and who could not say yes."""

from __future__ import annotations

from dataclasses import dataclass

from mandamus.catalog.model import Environment
from mandamus.kernel.access import Permission, Subject
from mandamus.runs.rooms import Rooms


@dataclass(frozen=True)
class Seat:
    """``count`` people of a group (empty for anybody else) are asked when a rule names no other group.

    ``people`` could say yes, ``barred`` are in the group and could not: they made part of what would be judged.
    """

    group: str
    count: int
    people: tuple[str, ...]
    barred: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether there are people enough; of anybody else it is not known."""
        return not self.group or len(self.people) >= self.count


@dataclass(frozen=True)
class Outlook:
    """What whoever asks for a run in an environment may expect. ``refused`` says why it would not even be taken."""

    environment: Environment
    seats: tuple[Seat, ...]
    refused: str = ""


def outlook(rooms: Rooms, who: Subject, environment: str, project: str) -> Outlook:
    """Of a request of the subject for a workflow of the project; raises ``not_found`` and ``forbidden``."""
    rooms.catalog.root_of(who, project)
    target = rooms.catalog.environment_for(who, Permission.RUN_REQUEST, environment, project)
    appliers = {target.applied_by, target.project.applied_by if target.project else ""}
    exempters = {one.by for one in rooms.policy.exemptions.active(environment)}
    makers = {*who.makers, *appliers, *exempters}
    asked = target.approvers or {"": 1}
    seats = tuple(_seat(rooms, group, count, makers, tuple(asked)) for group, count in asked.items())
    return Outlook(target, seats, _refused(who, target))


def _seat(rooms: Rooms, group: str, count: int, makers: set[str], groups: tuple[str, ...]) -> Seat:
    # Whoever said who is in a group that is asked made part of it, as when it is decided.
    changers = {name for each in groups for name in rooms.identity.changers(each)}
    members = rooms.identity.members(group) if group else frozenset()
    barred = members & (makers | changers)
    return Seat(group, count, tuple(sorted(members - barred)), tuple(sorted(barred)))


def _refused(who: Subject, target: Environment) -> str:
    if target.protected and not who.verified:
        return f"it is protected, and who you are is only claimed ({who.authn})"
    if target.protected and not target.judged_by:
        return "it is protected, and no policy set judges what is done there: everything is denied"
    return ""
