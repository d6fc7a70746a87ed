"""Two projects in one house: every event of a run carries its project, and nobody reads over the fence."""

from __future__ import annotations

import shutil

import pytest

from mandamus.audit.catalogue import VERBS
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.search_store import Wanted
from mandamus.identity.model import OS_USER
from mandamus.kernel.access import AUDITOR, Area, Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.policy.model import Wanted as Decisions
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Request

ASK = """package mandamus.plan

require_approval contains {"group": "platform", "count": 1, "msg": "look"}
"""
PLATFORM = """
users:
  ada: {{}}
  grace: {{}}
  pam: {{projects: [payments]}}
  sam: {{projects: [shop]}}
  rita: {{role: auditor}}
  rob: {{role: auditor, projects: [shop]}}
  OWNER: {{}}
groups: {{platform: [grace, pam, sam]}}
environments:
  dev: {{vars: {{region: north}}, policies: [policy]}}
projects:
  payments: {{root: {payments}}}
  shop: {{root: {shop}}}
"""


@pytest.fixture
def two(stage):
    """A run of each project that was asked for, approved and made, by the project's name."""
    shop = stage.project.parent / "shop"
    stage.workflow("one: {act: {}}")
    shutil.copytree(stage.project, shop)
    (stage.project / "policy" / "rules.rego").write_text(ASK)
    stage.apply(PLATFORM.format(payments=stage.project, shop=shop))
    runs = {}
    for name, root in (("payments", stage.project), ("shop", shop)):
        house = stage.house("ada")
        run = house.runs.request(house.who, root, Request("workflows/w.yaml", "dev", {}, reason="a test"))
        stage.drive(house, run.id)
        runs[name] = stage.decide("grace", run)
        assert runs[name].state is RunState.SUCCEEDED
    return runs


def _refused(code, action) -> None:
    with pytest.raises(MandamusError) as caught:
        action()
    assert caught.value.code is code


def test_every_event_of_a_run_carries_its_project(stage, two):
    """Decisions, approvals, effects and evidence, whichever room records them; what is of no project carries none."""
    house = stage.house()
    for name, run in two.items():
        leaves = [decode(leaf.bytes) for leaf in house.audit.events(run.id)]
        assert {leaf["project"] for leaf in leaves} == {name}
        assert {leaf["kind"] for leaf in leaves} >= {
            "run.requested", "decision.recorded", "approval.recorded", "effect.intended", "run.closed",
        }  # fmt: skip
        sealed = [decode(leaf.bytes) for leaf in house.audit.stream(f"evidence/{run.id}")]
        assert [leaf["project"] for leaf in sealed] == [name]
    assert {leaf["project"] for leaf in house.audit.told(Kind.PROJECT_APPLIED)} == {"payments", "shop"}
    assert {leaf["project"] for leaf in house.audit.told(Kind.ENVIRONMENT_APPLIED)} == {None}
    assert house.audit.verify_database().ok


def test_whoever_is_held_to_a_project_finds_nothing_of_another(stage, two, tmp_path):
    """Events, leaves, runs, decisions, evidence and the sample: another project's are as if they were not there."""
    owner = stage.house()
    for user, mine, other in (("pam", "payments", "shop"), ("sam", "shop", "payments")):
        house = stage.house(user)
        found = house.audit.search.find(house.who, Wanted(), limit=1000).hits
        assert {hit.fields["project"] for hit in found} == {mine}
        assert house.audit.search.find(house.who, Wanted(run=two[other].id)).hits == ()
        hidden = owner.audit.search.find(owner.who, Wanted(project=other)).hits[0].index
        _refused(Code.NOT_FOUND, lambda house=house, index=hidden: house.audit.search.show(house.who, index))
        assert [run.id for run in house.runs.list(house.who)] == [two[mine].id]
        assert house.runs.show(house.who, two[mine].id).run.project == mine
        for call in (
            lambda house, run: house.runs.show(house.who, run),
            lambda house, run: house.runs.change_set(house.who, run, "one"),
            lambda house, run: house.runs.logs(house.who, run, "one"),
            lambda house, run: house.runs.approve(house.who, run),
            lambda house, run: house.runs.reject(house.who, run),
            lambda house, run: house.runs.cancel(house.who, run),
            lambda house, run: house.runs.retry(house.who, run),
            lambda house, run: house.evidence.export(house.who, run, tmp_path / "no.zip"),
        ):
            _refused(Code.NOT_FOUND, lambda house=house, call=call, other=other: call(house, two[other].id))
        _, population = house.evidence.population(house.who, 0, 10**18)
        assert [closed.run for closed in population] == [two[mine].id]
        house.evidence.export(house.who, two[mine].id, tmp_path / f"{mine}.zip")
        assert house.policy.decisions(house.who, two[other].id) == []
        listed = house.policy.page(house.who, Decisions(), before=None, limit=2)
        assert {row.run for row in listed} == {two[mine].id}
        decision = owner.policy.of_run(two[other].id)[0].id
        _refused(Code.NOT_FOUND, lambda house=house, decision=decision: house.policy.get(house.who, decision))
        assert house.policy.decisions(house.who, two[mine].id)
    assert not (tmp_path / "no.zip").exists()
    house = stage.house("sam")
    asked = Request("workflows/w.yaml", "dev", {})
    _refused(Code.FORBIDDEN, lambda: house.runs.request(house.who, stage.project, asked))


def test_an_auditor_reads_everything_and_every_read_is_recorded(stage, two, tmp_path):
    """Also what is of no project; a verb that leaves no event of its own leaves one that says what was read.

    An auditor who is held to a project is held to it; whoever owns the home is held to none, whatever the file says.
    """
    house = stage.house("rita")
    found = house.audit.search.find(house.who, Wanted(), limit=1000).hits
    assert {hit.fields["project"] for hit in found} >= {"payments", "shop", None}
    assert {"identity.applied", "environment.applied", "log.opened"} <= {hit.fields["kind"] for hit in found}
    run = two["shop"].id
    house.runs.show(house.who, run)
    house.policy.decisions(house.who, run)
    house.identity.users(house.who)
    house.catalog.show_environment(house.who, "dev")
    house.evidence.export(house.who, run, tmp_path / "run.zip")
    assert house.audit.verify(house.who).ok
    told = [(leaf["who"]["subject"], leaf["data"]["verb"], leaf["data"]["about"]) for leaf in _told(house)]
    assert told == [
        ("rita", "Runs.show", run),
        ("rita", "Policy.decisions", run),
        ("rita", "Identity.users", ""),
        ("rita", "Catalog.show_environment", "dev"),
    ]
    assert [leaf["who"]["subject"] for leaf in house.audit.told(Kind.AUDIT_READ)] == ["rita"]
    assert [leaf["who"]["subject"] for leaf in house.audit.told(Kind.EVIDENCE_EXPORTED)] == ["rita"]
    house = stage.house("rob")
    assert house.who.areas(Permission.RUN_READ) == (Area(frozenset({"shop"})),)
    assert Permission.AUDIT_READ_ALL not in house.who.permissions
    found = house.audit.search.find(house.who, Wanted(), limit=1000).hits
    assert {hit.fields["project"] for hit in found} == {"shop"}
    _refused(Code.NOT_FOUND, lambda: house.runs.show(house.who, two["payments"].id))
    assert _told(house)[-1]["who"]["subject"] == "rob", "also when nothing is there"
    owner = stage.house().who
    assert (owner.authn, owner.grants, owner.told) == (OS_USER, None, None)


def _told(house):
    house.audit.flush()
    return house.audit.told(Kind.ACCESS_READ)


def test_an_auditor_may_change_nothing(stage):
    """No verb that an auditor may use is one that changes something, and the others are refused."""
    reads = {Kind.AUDIT_READ, Kind.AUDIT_VERIFIED, Kind.EVIDENCE_EXPORTED}
    stage.apply(PLATFORM.format(payments=stage.project, shop=stage.home))
    house = stage.house("rita")
    rooms = (house.audit, house.audit.search, house.catalog, house.configure, house.evidence, house.identity)
    rooms += (house.log_export, house.log_keys, house.personal_data, house.policy, house.policy.exemptions, house.runs)
    rooms += (house.anchoring, house.backtests, house.doctor)
    allowed = {
        f"{type(room).__name__}.{name}"
        for room in rooms
        for name in dir(type(room))
        if getattr(getattr(type(room), name), "permission", None) in AUDITOR
    }
    assert {"Search.find", "Search.show", "Audit.verify", "Evidence.export", "Runs.show", "Policy.get"} <= allowed
    changing = {name: VERBS[name] for name in allowed if isinstance(VERBS[name], Kind) and VERBS[name] not in reads}
    assert not changing
    run = RunId("run_00000000000000000000000000")
    for call in (
        lambda: house.runs.approve(house.who, run),
        lambda: house.runs.retry(house.who, run),
        lambda: house.configure.apply(house.who, stage.project / "platform.yaml"),
        lambda: house.personal_data.erase(house.who, "ada", "no"),
    ):
        _refused(Code.FORBIDDEN, call)
