"""Every verb of every service, called in a real house by somebody who may and by somebody who may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mandamus.audit.catalogue import REFUSED, VERBS
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.retention import RetentionClass
from mandamus.audit.search_store import Wanted as Searched
from mandamus.bootstrap.house import House
from mandamus.catalog.model import Environment, Project
from mandamus.cli.session import denials_recorded
from mandamus.executors.model import Probed, Verdict
from mandamus.identity.declared_machines import Machines
from mandamus.identity.grants import OwnRole
from mandamus.identity.model import User
from mandamus.identity.provided import PersonGiven, TeamGiven
from mandamus.identity.sign_in import SignIn
from mandamus.kernel.access import Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy.model import Wanted
from mandamus.runs.model import Request, Run
from mandamus.runs.model import Wanted as Sought
from mandamus.store.tables.audit import audit_event

ASK = """package mandamus.plan

require_approval contains {"group": "platform", "count": 1, "msg": "look"} if input.run.inputs.x == "asked"
"""
SCRATCH = """
environments:
  scratch: {vars: {region: south}}
"""
CHAT = {
    "webhook": None,
    "apprise": {"env": "CHAT"},
    "kinds": ["run.closed"],
    "projects": [],
    "environments": [],
    "outcomes": [],
    "groups": [],
    "active": True,
}
DAY_US = 86_400_000_000


@dataclass
class Scene:
    """A house in which runs have gone every way; ``out`` is a folder to write to."""

    house: House
    project: Path
    out: Path
    runs: dict[str, Run]
    until_us: int

    def within(self, call: Callable[[Any], object]) -> object:
        """Call a verb that works in its caller's transaction."""
        with self.house.rooms.db.begin("test") as tx:
            return call(tx)

    def decision(self) -> Any:
        """The first decision on the run that ended."""
        return self.house.policy.of_run(self.runs["ended"].id)[0]

    def exemption(self) -> Any:
        """The exemption that counts, or an id nobody has."""
        found = self.house.policy.exemptions.all(self.house.who)
        return found[0].id if found else "exm_00000000000000000000000000"

    def offered(self) -> str:
        """A workflow file of the project that is made here, as its path in it."""
        (self.out / "workflows").mkdir(exist_ok=True)
        (self.out / "workflows" / "w.yaml").write_text("workflow: w\nsteps: {one: {act: {}}}\n")
        return "workflows/w.yaml"

    def glass(self) -> str:
        """A break-glass that ada declared."""
        return self.house.break_glass.open(dataclasses.replace(self.house.who, user="ada"), "why", 60).id

    def person(self) -> str:
        """The id of a provider's user, once there is one."""
        found, _ = self.house.provisioning.persons(self.house.who, {}, 0, 1)
        return found[0].link.id if found else "scu_none"

    def team(self) -> str:
        """The id of a provider's group, once there is one."""
        found, _ = self.house.provisioning.teams(self.house.who, {}, 0, 1)
        return found[0].link.id if found else "scg_none"

    def device(self) -> str:
        """What somebody types who lets a device in."""
        return self.house.devices.ask("laptop", "192.0.2.1", None).user_code

    def session(self) -> str:
        """A session that ada opened."""
        link = self.house.sessions.link(dataclasses.replace(self.house.who, user="ada"))
        return self.house.sessions.open(link).session.id

    def token(self) -> str:
        """A token that ada made."""
        return self.house.tokens.create(dataclasses.replace(self.house.who, user="ada"), "a test").token.id


Call = Callable[[Scene, Subject], object]

NONE = Machines(exchanges=(), users=("somebody",))

PROVIDER = SignIn("https://id.example.com", "console", "https://console.example.com")
READER = OwnRole("reader", frozenset({Permission.RUN_READ}))

CALLS: dict[str, Call] = {
    "AccessReview.review": lambda s, who: s.house.access_review.review(who),
    "Audit.verify": lambda s, who: s.house.audit.verify(who),
    "Backtests.last": lambda s, who: s.house.backtests.last(
        who, "policy", s.house.policy.versions(s.house.who, "policy")[0].digest
    ),
    "Backtests.run": lambda s, who: s.house.backtests.run(who, "policy", s.project / "policy", protected=bool),
    "BreakGlass.close": lambda s, who: s.house.break_glass.close(who, s.glass(), "looked at it"),
    "BreakGlass.confirm": lambda s, who: s.house.break_glass.confirm(who, s.glass()),
    "BreakGlass.list": lambda s, who: s.house.break_glass.list(who),
    "BreakGlass.open": lambda s, who: s.house.break_glass.open(who, "why", 60),
    "Catalog.apply_environment": lambda s, who: s.within(
        lambda tx: s.house.catalog.apply_environment(tx, who, Environment("other"))
    ),
    "Catalog.apply_project": lambda s, who: s.within(
        lambda tx: s.house.catalog.apply_project(tx, who, Project("other", str(s.out)))
    ),
    "Catalog.check": lambda s, who: s.house.catalog.check(who, s.project, s.project / "workflows" / "w.yaml"),
    "Catalog.environments": lambda s, who: s.house.catalog.environments(who),
    "Catalog.root_of": lambda s, who: s.house.catalog.root_of(who, "other"),
    "Catalog.projects": lambda s, who: s.house.catalog.projects(who),
    "Catalog.show_environment": lambda s, who: s.house.catalog.show_environment(who, "dev"),
    "Catalog.show_workflow": lambda s, who: s.house.catalog.show_workflow(who, "other", s.offered()),
    "Catalog.workflows": lambda s, who: s.house.catalog.workflows(who, "other"),
    "Configure.apply": lambda s, who: s.house.configure.apply(who, s.out / "scratch.yaml"),
    "DeclaredSignIn.apply": lambda s, who: s.within(lambda tx: s.house.configure._sign_in.apply(tx, who, PROVIDER)),
    "Devices.decide": lambda s, who: s.house.devices.decide(who, s.device(), grant=True),
    "Devices.show": lambda s, who: s.house.devices.show(who, s.device()),
    "Doctor.examine": lambda s, who: s.house.doctor.examine(who),
    "Evidence.bundle": lambda s, who: s.house.evidence.bundle(who, s.runs["ended"].id),
    "Evidence.export": lambda s, who: s.house.evidence.export(who, s.runs["ended"].id, s.out / "bundle.zip"),
    "Evidence.population": lambda s, who: s.house.evidence.population(who, 0, s.until_us),
    "Exemptions.all": lambda s, who: s.house.policy.exemptions.all(who),
    "Exemptions.grant": lambda s, who: s.house.policy.exemptions.grant(
        who, "dev", "policy", "mandamus.plan.deny", why="for a day", until_us=s.until_us
    ),
    "Exemptions.end": lambda s, who: s.house.policy.exemptions.end(who, s.exemption(), "over"),
    "Granting.apply": lambda s, who: s.within(lambda tx: s.house.granting.apply(tx, who, [READER], [])),
    "Granting.grants": lambda s, who: s.house.granting.grants(who),
    "Granting.roles": lambda s, who: s.house.granting.roles(who),
    "Identity.apply": lambda s, who: s.within(lambda tx: s.house.identity.apply(tx, who, [User("bob")], [])),
    "Identity.groups": lambda s, who: s.house.identity.groups(who),
    "Identity.users": lambda s, who: s.house.identity.users(who),
    "LogKeys.rotate": lambda s, who: s.house.log_keys.rotate(who, "yearly"),
    "LogKeys.finish": lambda s, who: s.house.log_keys.finish(who, "everybody has the new one"),
    "PersonalData.erase": lambda s, who: s.house.personal_data.erase(who, "bob", "asked"),
    "Notify.apply": lambda s, who: s.within(lambda tx: s.house.notify.apply(tx, who, {"chat": CHAT})),
    "Notify.dead": lambda s, who: s.house.notify.dead(who),
    "Notify.deliveries": lambda s, who: s.house.notify.deliveries(who),
    "Notify.send": lambda s, who: s.house.notify.send(who),
    "Notify.subscriptions": lambda s, who: s.house.notify.subscriptions(who),
    "PersonalData.hold": lambda s, who: s.house.personal_data.hold(who, "case", "subject", "bob", "a case"),
    "PersonalData.holds": lambda s, who: s.house.personal_data.holds(who),
    "PersonalData.release": lambda s, who: s.house.personal_data.release(who, "case", "settled"),
    "Policy.bundle": lambda s, who: s.house.policy.bundle(who, s.house.policy.versions(s.house.who)[0].digest),
    "Policy.decisions": lambda s, who: s.house.policy.decisions(who, s.runs["ended"].id),
    "Policy.get": lambda s, who: s.house.policy.get(who, s.decision().id),
    "Policy.page": lambda s, who: s.house.policy.page(who, Wanted(), before=None, limit=5),
    "Policy.publish": lambda s, who: s.within(
        lambda tx: s.house.policy.publish(tx, who, s.house.policy.read(s.project / "policy"), "another")
    ),
    "Policy.versions": lambda s, who: s.house.policy.versions(who),
    "DeclaredMachines.apply": lambda s, who: s.within(lambda tx: s.house.configure._machines.apply(tx, who, NONE)),
    "DeclaredMachines.exchanges": lambda s, who: s.house.configure._machines.exchanges(who),
    "Passwords.set": lambda s, who: s.house.passwords.set(who, "gravel-otter-59-lantern-quiet"),
    "Passwords.remove": lambda s, who: s.house.passwords.remove(who),
    "Provisioning.create_person": lambda s, who: s.house.provisioning.create_person(
        who, PersonGiven("new@example.com")
    ),
    "Provisioning.create_team": lambda s, who: s.house.provisioning.create_team(who, TeamGiven("New People")),
    "Provisioning.persons": lambda s, who: s.house.provisioning.persons(who, {}, 0, 10),
    "Provisioning.teams": lambda s, who: s.house.provisioning.teams(who, {}, 0, 10),
    "Provisioning.person": lambda s, who: s.house.provisioning.person(who, s.person()),
    "Provisioning.team": lambda s, who: s.house.provisioning.team(who, s.team()),
    "Provisioning.change_person": lambda s, who: s.house.provisioning.change_person(
        who, s.person(), lambda now: dataclasses.replace(now.given, active=False)
    ),
    "Provisioning.change_team": lambda s, who: s.house.provisioning.change_team(
        who, s.team(), lambda now: dataclasses.replace(now.given, members=frozenset({s.person()}))
    ),
    "Provisioning.remove_person": lambda s, who: s.house.provisioning.remove_person(
        who, s.person(), lambda now: now.given
    ),
    "Provisioning.remove_team": lambda s, who: s.house.provisioning.remove_team(who, s.team(), lambda now: now.given),
    "Pruning.plan": lambda s, who: s.house.pruning.plan(who),
    "Pruning.prune": lambda s, who: s.house.pruning.prune(who),
    "Retention.apply": lambda s, who: s.within(
        lambda tx: s.house.retention.apply(tx, who, [RetentionClass("default", at_most_s=1)])
    ),
    "Retention.classes": lambda s, who: s.house.retention.classes(who),
    "Runs.approve": lambda s, who: s.house.runs.approve(who, s.runs["waits"].id, reason="looked"),
    "Runs.cancel": lambda s, who: s.house.runs.cancel(who, s.runs["waits too"].id, reason="not now"),
    "Runs.change_set": lambda s, who: s.house.runs.change_set(who, s.runs["ended"].id, "one"),
    "Runs.counts": lambda s, who: s.house.runs.counts(who),
    "Runs.drifted": lambda s, who: s.house.runs.drifted(who),
    "Runs.find": lambda s, who: s.house.runs.find(who, Sought()),
    "Runs.events": lambda s, who: s.house.runs.events(who, s.runs["ended"].id, -1),
    "Runs.inbox": lambda s, who: s.house.runs.inbox(who),
    "Runs.list": lambda s, who: s.house.runs.list(who),
    "Runs.follow_log": lambda s, who: s.house.runs.follow_log(who, s.runs["ended"].id, "one")(0),
    "Runs.glance": lambda s, who: s.house.runs.glance(who, s.runs["ended"].id),
    "Runs.locks": lambda s, who: s.house.runs.locks(who, "dev"),
    "Runs.logs": lambda s, who: s.house.runs.logs(who, s.runs["ended"].id, "one"),
    "Runs.outlook": lambda s, who: s.house.runs.outlook(who, "dev", "other"),
    "Runs.reject": lambda s, who: s.house.runs.reject(who, s.runs["waits as well"].id, reason="no"),
    "Runs.request": lambda s, who: s.house.runs.request(who, s.project, Request("workflows/w.yaml", "dev", {})),
    "Runs.retry": lambda s, who: s.house.runs.retry(who, s.runs["cancelled"].id, reason="again"),
    "Runs.settle": lambda s, who: s.house.runs.settle(who, s.runs["lost"].id, "one", "failed", reason="looked"),
    "Runs.show": lambda s, who: s.house.runs.show(who, s.runs["ended"].id),
    "Search.find": lambda s, who: s.house.audit.search.find(who, Searched(kind="run.requested")),
    "Search.newest": lambda s, who: s.house.audit.search.newest(who),
    "Search.standing": lambda s, who: s.house.audit.search.standing(who),
    "Search.show": lambda s, who: s.house.audit.search.show(who, 0),
    "Tokens.create": lambda s, who: s.house.tokens.create(who, "of a test"),
    "Tokens.list": lambda s, who: s.house.tokens.list(who),
    "Tokens.revoke": lambda s, who: s.house.tokens.revoke(who, s.token()),
    "Sessions.link": lambda s, who: s.house.sessions.link(who),
    "KillSwitch.sessions": lambda s, who: s.house.kill_switch.sessions(who),
    "KillSwitch.end": lambda s, who: s.house.kill_switch.end(who, s.session()),
    "KillSwitch.end_all": lambda s, who: s.house.kill_switch.end_all(who, "bob"),
    "KillSwitch.end_own": lambda s, who: s.house.kill_switch.end_own(who),
}
"""How each verb is called. Its name is the one in the catalogue, and the order is such that each can be done."""

OUTSIDE: dict[str, Call] = {
    "Anchoring.anchor": lambda s, who: s.house.anchoring.anchor(who),
    "Anchoring.verify": lambda s, who: s.house.anchoring.verify(who),
    "LogExport.reconcile": lambda s, who: s.house.log_export.reconcile(who, "sink"),
    "LogExport.run": lambda s, who: s.house.log_export.run(who),
    "LogExport.sinks": lambda s, who: s.house.log_export.sinks(who),
    "Notify.replay": lambda s, who: s.house.notify.replay(who),
    "Notify.test": lambda s, who: s.house.notify.test(who, "chat"),
}
"""Verbs that work with something outside of the home: only refused here, and allowed in the tests of their own."""

DECIDERS = {"Runs.approve", "Runs.reject"}
"""Verbs that a maker of the run may not use: grace does."""


@pytest.fixture
def scene(stage, tmp_path) -> Scene:
    """A home with a run of each kind, asked for by ada."""

    def crash(_task):
        raise RuntimeError("a fault of the executor")

    stage.policy(ASK)
    stage.workflow("one: {act: {value: '${{ inputs.x }}'}}")
    runs = {"ended": stage.ask()}
    runs |= {name: stage.ask(x="asked") for name in ("waits", "waits too", "waits as well", "cancelled")}
    house = stage.house()
    house.runs.cancel(house.who, runs["cancelled"].id)
    stage.drive(house, runs["cancelled"].id)
    stage.act.script["one"] = crash
    stage.act.probes["one"] = Probed(Verdict.UNKNOWN, "it may have")
    runs["lost"] = stage.ask()
    (tmp_path / "scratch.yaml").write_text(SCRATCH)
    return Scene(stage.house(), stage.project, tmp_path, runs, stage.clock.now_us() + DAY_US)


def _events(house: House, who: Subject, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
    """Number and fields of the events of a subject, in the order in which they were recorded."""
    columns = audit_event.c
    query = sa.select(columns.event_id, columns.leaf).where(columns.event_id > after, columns.subject == who.user)
    with house.rooms.db.read() as conn:
        return [(row.event_id, dict(decode(row.leaf))) for row in conn.execute(query.order_by(columns.event_id))]


def test_every_verb_is_called_here():
    """A new verb gets a call, so that what the catalogue promises of it is tried."""
    assert not VERBS.keys() - CALLS.keys() - OUTSIDE.keys()


@pytest.mark.slow
def test_an_allowed_call_records_what_the_catalogue_promises(scene, stage):
    """The promised kind, by whoever called, with the outcome ok; and nothing where nothing is promised."""
    grace = stage.house("grace").who
    for verb, call in CALLS.items():
        who = grace if verb in DECIDERS else scene.house.who
        before = max((number for number, _ in _events(scene.house, who)), default=0)
        call(scene, who)
        found = [fields for _, fields in _events(scene.house, who, before)]
        promise = VERBS[verb]
        if isinstance(promise, Kind):
            assert (promise.text, "ok") in {(each["kind"], each["outcome"]) for each in found}, verb
        else:
            assert found == [], f"{verb} records something although {promise}"
        assert {each["who"]["authn"] for each in found} <= {who.authn}, verb


@pytest.mark.slow
def test_a_refused_call_records_who_asked_for_what(scene):
    """Without permissions every verb is refused, changes nothing, and leaves one event that says so."""
    nobody = dataclasses.replace(scene.house.who, permissions=frozenset())
    for verb, call in ((verb, call) for verb, call in {**CALLS, **OUTSIDE}.items() if verb in VERBS):
        before = max(number for number, _ in _events(scene.house, nobody))
        with pytest.raises(MandamusError) as refused, denials_recorded(scene.house):
            call(scene, nobody)
        assert refused.value.code is Code.FORBIDDEN, verb
        found = [fields for _, fields in _events(scene.house, nobody, before)]
        assert [(each["kind"], each["outcome"]) for each in found] == [(REFUSED.text, "denied")], verb
        assert found[0]["data"]["permission"] in {permission.value for permission in Permission}, verb
        assert found[0]["why"].startswith(f"{nobody.user} may not "), verb
