"""Levels, overrides, exemptions, projects, and the points where people are judged: through a whole house."""

from __future__ import annotations

import getpass

import pytest

from mandamus.evidence.verify import verify
from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy.attribution import Attribution
from mandamus.policy.backtest_model import Kind
from mandamus.policy.golden import golden
from mandamus.policy.model import Outcome, Point
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Request

DENY = 'package mandamus.plan\n\ndeny contains {"msg": "not so", "address": "one"} if input.step.name == "one"\n'
PEOPLE = """
users: {ada: {}, grace: {}, joan: {}, OWNER: {}}
groups:
  platform: [ada, grace, joan]
  security: [grace, joan]
"""
DAY_US = 86_400_000_000


@pytest.fixture
def proved(stage, tmp_path):
    """The run's evidence holds, for a stranger."""

    def prove(run) -> str:
        house, path = stage.house(), tmp_path / f"{run.id}.zip"
        house.evidence.export(house.who, run.id, path)
        report = verify(path, house.audit.vkey)
        assert report.ok, [str(problem) for problem in report.problems]
        return "; ".join(report.notes)

    return prove


def platform(policy: str) -> str:
    return f"{PEOPLE}\nenvironments:\n  dev:\n    policies: [{policy}]\n"


def decisions(stage, run, point=Point.PLAN):
    house = stage.houses[-1]
    return [each.verdict for each in house.policy.decisions(house.who, run.id) if each.verdict.point is point]


@pytest.fixture
def denied(stage):
    """A workflow of one step that the environment's only set denies, attached as a test says."""
    stage.workflow("one: {act: {}}")

    def attach(policy: str = "policy") -> None:
        (stage.project / "policy" / "rules.rego").write_text(DENY)
        stage.apply(platform(policy))

    return attach


def test_a_hard_mandatory_set_denies(stage, denied):
    """The level of a set that is attached without one."""
    denied()
    assert stage.ask().state is RunState.DENIED


def test_an_advisory_set_warns(stage, denied, proved):
    """The run goes on, and its decision holds the warning with rule and line."""
    denied("{path: policy, level: advisory}")
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    (verdict,) = decisions(stage, run)
    assert [(v.msg, v.line) for v in verdict.warnings] == [("not so", 3)]
    proved(run)


def test_a_shadow_set_is_only_tried(stage, denied, proved):
    """The run goes on; what the set would have said is recorded, and its raw values for a later replay."""
    denied("{path: policy, level: shadow}")
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    (verdict,) = decisions(stage, run)
    assert (verdict.outcome, [v.msg for v in verdict.spared]) == (Outcome.ALLOW, ["not so"])
    assert b"not so" in verdict.results
    proved(run)


SOFT = "{path: policy, level: soft-mandatory, override: {security: {count: 2}}}"


def test_owners_override_a_soft_mandatory_set(stage, denied, proved):
    """Two of the named owners say yes with a reason; the first alone is not enough, and then it is applied."""
    denied(SOFT)
    run = stage.ask()
    assert run.state is RunState.WAITING
    (asked,) = stage.step(run, "one").requires
    assert (asked.group, asked.count, asked.override) == ("security", 2, True)
    assert stage.decide("grace", run, reason="seen with the team").state is RunState.WAITING
    assert stage.decide("joan", run, reason="as grace says").state is RunState.SUCCEEDED
    assert [v.msg for v in decisions(stage, run)[0].spared] == ["not so"]
    assert "mandamus.plan.deny at one counts as overridden" in proved(run)


def test_an_override_needs_a_reason(stage, denied):
    """A yes that breaks a rule and does not say why is refused."""
    denied(SOFT)
    run = stage.ask()
    with pytest.raises(MandamusError, match="needs a reason") as caught:
        stage.decide("grace", run)
    assert caught.value.code is Code.APPROVAL_REFUSED


def test_the_author_overrides_nothing(stage, denied):
    """An owner who asked for the change is its maker, override or not."""
    stage.workflow("one: {act: {}}")
    denied(SOFT)
    run = stage.ask("grace")
    with pytest.raises(MandamusError, match="nobody approves what they made"):
        stage.decide("grace", run, reason="mine")


def test_a_soft_mandatory_set_without_owners_is_refused(stage, denied):
    """Nobody could override it, so the platform file must say who."""
    with pytest.raises(MandamusError, match="needs owners who may override it"):
        denied("{path: policy, level: soft-mandatory}")


def exempt(stage, user=None, **changes):
    house = stage.house(user)
    given = {"address": "", "why": "until the vendor mends it", "until_us": stage.clock.now_us() + DAY_US, **changes}
    return house.policy.exemptions.grant(house.who, "dev", "policy", "mandamus.plan.deny", **given)


def test_an_exempted_rule_does_not_deny(stage, denied, proved):
    """The decision names the exemption; the log says who granted it, and the run goes on."""
    denied()
    one = exempt(stage, address="one")
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    (verdict,) = decisions(stage, run)
    assert [(v.msg, v.exemption) for v in verdict.spared] == [("not so", one.id)]
    audit = stage.houses[-1].audit
    audit.flush()
    assert (one.by, one.why) == (getpass.getuser(), "until the vendor mends it")
    assert f"{getpass.getuser()} exempted mandamus.plan.deny at one: until the vendor mends it" in proved(run)


@pytest.mark.parametrize("changes", [{"address": "other"}, {"until_us": "soon"}])
def test_an_exemption_is_narrow_and_ends_by_itself(stage, denied, changes):
    """Another address is denied still, and so is everything once its time is over."""
    denied()
    if changes.get("until_us") == "soon":
        changes = {"until_us": stage.clock.now_us() + 60_000_000}
    exempt(stage, **changes)
    stage.clock.ahead_s += 61
    assert stage.ask().state is RunState.DENIED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"why": " "}, "needs a reason"),
        ({"until_us": 1}, "is past"),
        ({"until_us": 1 << 60}, "a year at most"),
    ],
)
def test_an_exemption_that_says_too_little_is_refused(stage, denied, changes, words):
    """A reason, and a moment that is neither past nor far away."""
    denied()
    with pytest.raises(MandamusError, match=words) as caught:
        exempt(stage, **changes)
    assert caught.value.code is Code.EXEMPTION_INVALID


def test_an_exemption_needs_the_permission(stage, denied):
    """A member of the home asks for changes; the rules are not theirs."""
    denied()
    with pytest.raises(MandamusError) as caught:
        exempt(stage, "ada")
    assert caught.value.code is Code.FORBIDDEN


def test_an_exemption_that_is_taken_back_is_judged_again(stage, denied, proved):
    """A run that waits with a plan that only the exemption let through is denied once that has ended."""
    ask = 'require_approval contains {"group": "platform"}\n'
    denied()
    stage.policy(DENY + ask)
    one = exempt(stage)
    run = stage.ask()
    assert run.state is RunState.WAITING
    house = stage.house()
    house.policy.exemptions.end(house.who, one.id)
    assert stage.decide("grace", run).state is RunState.DENIED
    assert stage.act.applied == []
    proved(run)
    with pytest.raises(MandamusError, match="has ended already"):
        house.policy.exemptions.end(house.who, one.id)


def test_whoever_exempts_approves_nothing_there(stage, denied):
    """The owner of the home let the rule pass, so another must say yes to what it let pass."""
    denied()
    stage.policy(DENY + 'require_approval contains {"group": "", "count": 1}\n'.replace('"group": "", ', ""))
    exempt(stage)
    run = stage.ask()
    house = stage.houses[-1]
    assert getpass.getuser() in house.runs.show(house.who, run.id).barred["one"]


APPROVAL = """package mandamus.approval

deny contains {"msg": "grace is on holiday", "remedy": "ask joan"} if input.approval.by == "grace"
"""
ASK = 'package mandamus.plan\n\nrequire_approval contains {"group": "platform", "count": 1, "msg": "look"}\n'


def test_policy_may_refuse_an_approver(stage, proved):
    """The point `approval` denies grace: her yes does not count, is recorded as refused, and joan's is enough."""
    (stage.project / "policy" / "approval.rego").write_text(APPROVAL)
    stage.policy(ASK)
    stage.workflow("one: {act: {}}")
    run = stage.ask()
    with pytest.raises(MandamusError, match="grace is on holiday") as caught:
        stage.decide("grace", run)
    assert (caught.value.code, caught.value.remedy) == (Code.APPROVAL_REFUSED, "ask joan")
    assert "approval.refused" in stage.kinds(run)
    assert stage.decide("joan", run).state is RunState.SUCCEEDED
    assert [v.outcome for v in decisions(stage, run, Point.APPROVAL)] == [Outcome.DENY, Outcome.ALLOW]
    proved(run)


ACCESS = """package mandamus.access

deny contains sprintf("%s may not %s", [input.who.user, input.action]) if input.who.user == "joan"
"""


def test_policy_may_refuse_access(stage):
    """The point `access` keeps joan from asking for a run and from cancelling one; ada goes on."""
    (stage.project / "policy" / "access.rego").write_text(ACCESS)
    stage.policy(ASK)
    stage.workflow("one: {act: {}}")
    with pytest.raises(MandamusError, match="joan may not run:request") as caught:
        stage.ask("joan")
    assert caught.value.code is Code.FORBIDDEN
    run = stage.ask("ada")
    house = stage.house("joan")
    with pytest.raises(MandamusError, match="joan may not run:cancel"):
        house.runs.cancel(house.who, run.id)
    assert [v.outcome for v in decisions(stage, run, Point.ACCESS)] == [Outcome.DENY]


def test_what_policy_asks_at_the_request_every_step_needs(stage, proved):
    """`require_approval` at `trigger` is not lost: the step waits, and keeps waiting when policy moves."""
    rules = 'package mandamus.trigger\n\nrequire_approval contains {"group": "platform", "count": 1}\n'
    (stage.project / "policy" / "trigger.rego").write_text(rules)
    stage.workflow("one: {act: {}}")
    stage.apply()
    run = stage.ask()
    assert run.state is RunState.WAITING
    assert [(r.group, r.count) for r in stage.step(run, "one").requires] == [("platform", 1)]
    stage.policy('package mandamus.plan\n\nwarn contains "moved"\n')
    assert stage.decide("grace", run).state is RunState.SUCCEEDED
    proved(run)


def test_what_policy_asks_before_a_step_is_asked_again(stage):
    """`require_approval` at `step` counts also after policy has moved: the old yes is not enough by itself."""
    rules = 'package mandamus.step\n\nrequire_approval contains {"group": "platform", "count": 2}\n'
    (stage.project / "policy" / "step.rego").write_text(rules)
    stage.workflow("one: {act: {}}")
    stage.apply()
    run = stage.ask()
    stage.decide("grace", run)
    stage.policy('package mandamus.plan\n\nwarn contains "moved"\n')
    again = stage.house("grace")
    stage.drive(again, run.id)
    assert [(r.group, r.count) for r in stage.step(run, "one").requires] == [("platform", 2)]
    assert stage.decide("joan", run).state is RunState.SUCCEEDED


def test_a_project_is_judged_by_its_own_sets_too(stage):
    """The environment allows, the project's set denies; a run from an unregistered folder is judged by one only."""
    own = stage.project / "own"
    own.mkdir()
    (own / "rules.rego").write_text(DENY)
    stage.workflow("one: {act: {}}")
    registered = f"projects:\n  payments:\n    root: {stage.project}\n    policies: [own]\n"
    stage.apply(platform("policy") + registered)
    run = stage.ask()
    assert (run.state, run.project) == (RunState.DENIED, "payments")
    assert [attached.name for attached in decisions(stage, run)[0].attached] == ["policy", "own"]
    stage.apply(platform("policy") + registered.replace("[own]", "[]"))
    assert stage.ask().state is RunState.SUCCEEDED


def test_a_protected_environment_needs_a_set_that_binds(stage, denied):
    """A shadow or advisory set judges nobody, so it is as if there were none."""
    denied()
    text = platform("{path: policy, level: shadow}").replace("  dev:\n", "  dev:\n    protected: true\n")
    stage.apply(text)
    house = stage.house()
    rooms = house.rooms
    environment = rooms.catalog.environment("dev")
    verdict = house.policy.decide(
        Point.PLAN, {"step": {"name": "other"}}, environment.judged_by, protected=True, now_us=0, environment="dev"
    )
    assert verdict.outcome is Outcome.DENY
    assert verdict.error is not None
    assert verdict.error.startswith("no_policy")


def test_a_protected_environment_takes_only_rules_that_were_tried(stage, denied):
    """Another version is refused until a back-test of exactly it is there; the first version needs none."""
    denied()
    text = platform("policy").replace("  dev:\n", "  dev:\n    protected: true\n")
    stage.apply(text)
    house = stage.house()
    run = house.runs.request(house.who, stage.project, Request("workflows/w.yaml", "dev", {}, reason="why"))
    assert stage.drive(house, run.id).state is RunState.DENIED
    (stage.project / "policy" / "rules.rego").write_text(DENY.replace('"one"', '"two"'))
    with pytest.raises(MandamusError, match="has not been tried") as caught:
        stage.apply(text)
    assert caught.value.code is Code.BACKTEST_NEEDED
    house = stage.house()
    report = house.backtests.run(house.who, "policy", stage.project / "policy", protected=lambda _name: True)
    assert report.counts[Kind.DENY_TO_ALLOW] == 1
    stage.apply(text)
    (stage.project / "policy" / "rules.rego").write_text(DENY.replace('"one"', '"three"'))
    with pytest.raises(MandamusError, match="has not been tried"):
        stage.apply(text.replace("protected: true", "protected: false"))
    told = []
    house = stage.house()
    house.configure.apply(house.who, stage.project / "platform.yaml", tried=told.append)
    assert [report.counts[Kind.DENY_TO_ALLOW] for report in told] == [1]


def test_a_set_whose_tests_fail_judges_nobody(stage, denied):
    """Publishing runs them, and names file and line of the one that fails; nothing is applied."""
    head = "package plan_test\n\nimport data.mandamus.plan\n\n"
    test = head + "test_one if {\n\tcount(plan.deny) == %d with input as %s\n}\n"
    seen = '{"step": {"name": "one"}}'
    (stage.project / "policy" / "rules_test.rego").write_text(test % (2, seen))
    with pytest.raises(MandamusError, match=r"rules_test.rego:6:1: test_failed: .*test_one") as caught:
        denied()
    assert caught.value.code is Code.POLICY_INVALID
    (stage.project / "policy" / "rules_test.rego").write_text(test % (1, seen))
    denied()


def test_a_golden_case_is_held_when_the_set_is_published(stage, denied):
    """A recorded decision that was kept as a test passes with the rule that made it, and stops another rule."""
    denied()
    run = stage.ask()
    house = stage.houses[-1]
    (made,) = [each for each in house.policy.decisions(house.who, run.id) if each.verdict.point is Point.PLAN]
    digest = made.verdict.sets[0]
    kept = golden(house.pool, made, digest, Attribution(house.policy.bundle(house.who, digest)), "kept")
    for name, text in kept.files.items():
        (stage.project / "policy" / name).write_text(text)
    stage.apply(platform("policy"))
    (stage.project / "policy" / "rules.rego").write_text(DENY.replace('"one"', '"two"'))
    with pytest.raises(MandamusError, match="test_failed"):
        stage.apply(platform("policy"))
