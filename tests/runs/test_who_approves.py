"""Whatever people declare, grant, take back and try: a change is applied when two who did not make it say so.

A machine does at random what people do, and keeps a small model of who may approve, written apart from the house's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from mandamus.identity.grants import Granted, To
from mandamus.identity.model import Group, Nature, Role, User
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.model import Request

PEOPLE = ("ada", "grace", "joan", "pam", "rob")
PROGRAMS = {"ci": "grace", "bot": "joan"}
EVERYBODY = (*PEOPLE, *PROGRAMS)
ROLES = {"viewer": set(), "operator": {"ask"}, "approver": {"decide"}, "member": {"ask", "decide"}}
PLACES = (None, ("dev",), ("prod",))
ASKED = 2
POLICY = """package mandamus.plan

require_approval contains {"group": "platform", "count": 2, "msg": "two look at it"}
"""


@dataclass
class Asked:
    """A run that waits, who made it, and who said yes to it."""

    id: Any
    makers: set[str]
    yes: set[str] = field(default_factory=set)
    over: bool = False


class Office(RuleBasedStateMachine):
    """People of one home, which goes on from example to example."""

    def __init__(self, stage: Any) -> None:
        super().__init__()
        self._stage = stage
        self._house = stage.houses[0]
        self._owner: Subject = self._house.who
        self._members: set[str] = set()
        self._changer = self._owner.user
        self._may: dict[str, dict[str, tuple[str, tuple[str, ...] | None]]] = {name: {} for name in EVERYBODY}
        self._active: set[str] = set(EVERYBODY)
        self._runs: list[Asked] = []
        self._declare(self._users())
        self._regroup(replaced(self._owner, user="ada"), {"ada", "grace", "joan", "rob"})
        for name in EVERYBODY:
            self._grant(name, "one", "member", None)
            self._grant(name, "two", "viewer", None, active=False)
        self._grant("rob", "one", "viewer", None)
        self._grant("rob", "two", "approver", ("prod",))
        self._ask("pam")
        # Who let themself in, and who decides elsewhere and only looks on here.
        for name in ("ada", "rob"):
            self._approve(name, self._runs[-1])

    def _declare(self, users: list[User]) -> None:
        with self._house.rooms.db.begin("test") as tx:
            self._house.identity.apply(tx, self._owner, users, [])

    def _users(self) -> list[User]:
        people = [User(name, role=Role.NONE, active=name in self._active) for name in PEOPLE]
        programs = [
            User(name, role=Role.NONE, active=name in self._active, nature=Nature.SERVICE_ACCOUNT, owner=owner)
            for name, owner in PROGRAMS.items()
        ]
        return [*people, *programs]

    def _regroup(self, who: Subject, members: set[str]) -> None:
        there = {name for group in self._house.identity.groups(self._owner) for name in group.members}
        if members == there:
            self._members, self._changer = there, self._house.identity.changed_by("platform") or ""
            return
        with self._house.rooms.db.begin("test") as tx:
            self._house.identity.apply(tx, who, [], [Group("platform", tuple(sorted(members)))])
        self._members, self._changer = set(members), who.user

    def _grant(self, name: str, slot: str, role: str, places: tuple[str, ...] | None, *, active: bool = True) -> None:
        given = Granted(f"{slot}-{name}", role, To.USER, name, environments=places, active=active)
        with self._house.rooms.db.begin("test") as tx:
            self._house.granting.apply(tx, self._owner, [], [given])
        self._may[name].pop(slot, None)
        if active:
            self._may[name][slot] = role, places

    def _can(self, name: str, what: str) -> bool:
        """By the model: whether somebody may ask or decide in dev now."""
        here = [role for role, places in self._may[name].values() if places in (None, ("dev",))]
        return name in self._active and any(what in ROLES[role] for role in here)

    @rule(members=st.sets(st.sampled_from(PEOPLE), min_size=2), by=st.sampled_from(PEOPLE))
    def regroup(self, members: set[str], by: str) -> None:
        """Somebody with all rights lets themself and others in, and is a maker of all they are asked from then on."""
        self._regroup(replaced(self._owner, user=by), members | {by})

    @rule(
        name=st.sampled_from(EVERYBODY),
        slot=st.sampled_from(("one", "two")),
        role=st.sampled_from(sorted(ROLES)),
        places=st.sampled_from(PLACES),
    )
    def grant(self, name: str, slot: str, role: str, places: tuple[str, ...] | None) -> None:
        """Somebody gets another role, or a second one, in dev, in prod or everywhere."""
        self._grant(name, slot, role, places)

    @rule(name=st.sampled_from(EVERYBODY), slot=st.sampled_from(("one", "two")))
    def take_back(self, name: str, slot: str) -> None:
        """Somebody has one role less."""
        self._grant(name, slot, "viewer", None, active=False)

    @rule(name=st.sampled_from(EVERYBODY))
    def leave_or_return(self, name: str) -> None:
        """Somebody is deactivated, or let in again."""
        self._active ^= {name}
        self._declare(self._users())

    @rule(name=st.sampled_from(EVERYBODY))
    def ask(self, name: str) -> None:
        """Somebody asks for a run, if they may."""
        self._ask(name)

    def _ask(self, name: str) -> None:
        who = self._house.identity.active(name)
        if who is None:
            assert name not in self._active
            return
        request = self._stage.request()
        if not self._can(name, "ask"):
            assert _refusal(lambda: self._house.runs.request(who, self._stage.project, request)) is not None
            return
        made = self._house.runs.request(who, self._stage.project, request)
        self._house.drive(made.id, lambda _notice: None)
        owners = {PROGRAMS[name]} if name in PROGRAMS else set()
        self._runs.append(Asked(made.id, {name, *owners, self._owner.user}))

    @precondition(lambda self: any(not run.over for run in self._runs))
    @rule(name=st.sampled_from(EVERYBODY), data=st.data())
    def approve(self, name: str, data: st.DataObject) -> None:
        """Somebody says yes to one of the runs that wait."""
        self._approve(name, data.draw(st.sampled_from([run for run in self._runs if not run.over])))

    @precondition(lambda self: any(not run.over for run in self._runs))
    @rule(names=st.permutations(EVERYBODY))
    def approve_in_turn(self, names: list[str]) -> None:
        """Everybody tries, one after the other, until it is done."""
        run = next(run for run in self._runs if not run.over)
        for name in names:
            if not run.over:
                self._approve(name, run)

    def _approve(self, name: str, run: Asked) -> None:
        """It counts exactly when the model says so, and two such are what it takes."""
        who = self._house.identity.active(name)
        if who is None:
            assert name not in self._active
            return
        barred = run.makers | {self._changer}
        allowed = name in PEOPLE and name in self._members and self._can(name, "decide")
        allowed = allowed and name not in barred | run.yes
        code = _refusal(lambda: self._house.runs.approve(who, run.id))
        assert (code is None) == allowed, (name, code, barred, self._members, self._may[name])
        before = len(self._stage.act.applied)
        self._house.drive(run.id, lambda _notice: None)
        if allowed:
            run.yes.add(name)
            run.over = len(run.yes) == ASKED
        assert len(self._stage.act.applied) - before == (1 if allowed and run.over else 0)
        if run.over:
            self._prove(run)

    def _prove(self, run: Asked) -> None:
        """What stands in the run says the same: who said yes are people, distinct, none of them a maker."""
        view = self._house.runs.show(self._owner, run.id)
        said = [given.by for given in view.approvals if given.verdict == "yes"]
        assert len(said) == len(set(said)) == ASKED
        assert set(said) == run.yes
        assert not set(said) & {*view.run.makers, *PROGRAMS}


def _refusal(action: Callable[[], object]) -> Code | None:
    try:
        action()
    except MandamusError as error:
        if error.code in {Code.FORBIDDEN, Code.NOT_FOUND, Code.APPROVAL_REFUSED}:
            return error.code
        raise
    return None


@pytest.fixture
def office(stage) -> Iterator[Callable[[], Office]]:
    """A home in which two of a group are asked about every step."""
    stage.workflow("one: {act: {}}")
    stage.policy(POLICY)
    stage.request = lambda: Request("workflows/w.yaml", "dev", {}, reason="a test")
    house = stage.house()
    stage.houses.insert(0, house)
    yield lambda: Office(stage)
    stage.houses.remove(house)


def _play(office: Callable[[], Office], examples: int, steps: int) -> None:
    """The same each time, so that what fails can be looked at."""
    kept = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(office, settings=kept)


def test_two_who_did_not_make_it_and_may_decide_is_what_it_takes(office, stage):
    """Some afternoons of an office, in which changes were applied."""
    _play(office, 1, 12)
    assert stage.act.applied


@pytest.mark.slow
def test_two_who_did_not_make_it_in_many_offices(office):
    """Many more of them."""
    _play(office, 40, 60)
