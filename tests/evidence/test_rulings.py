"""What policy let pass in spite of a violation was exempted, overridden or only tried out, as the log says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource, Verdict
from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached, Level
from mandamus.policy import model as policy

SET = canonical.digest(b"set")
EXEMPTION = "exm_01m89j73mbese84kd2w6h3ygrf"
RULE = "mandamus.plan.deny"
DAY_US = 86_400_000_000


def _violation(**changed):
    said = {"rule": RULE, "msg": "no", "file": "a.rego", "line": 3, "set": SET, "address": "bucket.a"}
    return policy.Violation(**{**said, **changed})


@pytest.fixture
def exempt(room, person):
    """Record that an exemption was granted or ended, in its own stream."""

    def event(kind=Kind.EXEMPTION_GRANTED, who="gil", why="until the migration", **changed):
        told = {
            "exemption": EXEMPTION, "environment": "dev", "set": "base", "rule": RULE, "address": "",
            "until_us": room.clock.now_us() + DAY_US, **changed,
        }  # fmt: skip
        with room.db.begin("test") as tx:
            room.audit.record(tx, Event(kind, person(who), Resource("exemption", EXEMPTION), why=why, data=told))

    return event


@pytest.fixture
def judged(room, sealed, bench):
    """A run whose plan was judged so, denied at the end; gives the report of its verification."""

    def run(outcome="allow", point="plan", level=Level.HARD, override=None, then=None, **said):
        scribe = room.begin().asked().admitted()
        scribe.planned()
        attached = (Attached(scribe.hold(b"set"), "base", level, override or {}),)
        scribe.decided(point, outcome, "bucket", attached=attached, said={"environment": "dev", **said})
        if then is not None:
            then()
        scribe.finished("bucket", "denied")
        return bench.check(sealed(scribe.closed("denied")))

    return run


def _ruled(report, why, verdict=Verdict.TAMPERED):
    assert why in " ".join(problem.message for problem in report.problems), report.problems
    assert report.outcome is verdict
    assert report.problems[0].file.startswith("decisions/")
    assert report.leaf is not None


def test_an_exempted_violation_needs_the_leaf_that_granted_it(judged, exempt):
    """The leaves of the exemption are in the bundle, and a note names who granted it and why."""
    spared = (_violation(exemption=EXEMPTION),)
    _ruled(judged(spared=spared), "no leaf tells that it was granted", Verdict.INCOMPLETE)
    exempt()
    report = judged(spared=spared)
    assert report.ok, report.problems
    assert any("gil exempted mandamus.plan.deny at bucket.a: until the migration" in note for note in report.notes)


@pytest.mark.parametrize(
    "other", [{"environment": "prod"}, {"set": "other"}, {"rule": "mandamus.plan.x"}, {"address": "bucket.b"}]
)
def test_an_exemption_of_something_else_spares_nothing(judged, exempt, other):
    """Environment, set, rule and address have to be those of the violation."""
    exempt(**other)
    _ruled(judged(spared=(_violation(exemption=EXEMPTION),)), "about something else")


def test_an_exemption_counts_while_it_lasts(judged, exempt, room, clock):
    """Not once it has expired or was taken back; what happens to it after the decision changes nothing."""
    spared = (_violation(exemption=EXEMPTION),)
    exempt(until_us=room.clock.now_us() + DAY_US)
    report = judged(spared=spared, then=lambda: exempt(Kind.EXEMPTION_ENDED))
    assert report.ok, report.problems
    _ruled(judged(spared=spared, at_us=clock.now_us() + 1), "did not count then")
    _ruled(judged(spared=spared, at_us=clock.now_us() + 2 * DAY_US), "did not count then")


def test_an_exemption_that_had_expired_spares_nothing(judged, exempt, room):
    """Its end is a moment in its leaf."""
    exempt(until_us=room.clock.now_us() - 1)
    _ruled(judged(spared=(_violation(exemption=EXEMPTION),)), "did not count then")


def test_what_binds_is_not_spared(judged):
    """A hard-mandatory violation without exemption denies; a soft one is let pass only for those who may override."""
    _ruled(judged(spared=(_violation(),)), "is hard-mandatory, and nothing spares it")
    soft = {"level": Level.SOFT, "spared": (_violation(level=Level.SOFT),)}
    _ruled(judged(**soft), "nobody may override it here")
    _ruled(judged(**soft, override={"security": 2}), "was not asked of all who own it")
    ask = policy.Requirement("security", 2, "override", RULE, "a.rego", 3, SET, override=True)
    report = judged("needs_approval", **soft, override={"security": 2}, requires=(ask,))
    assert report.ok, report.problems
    assert any("counts as overridden" in note for note in report.notes)
    less = policy.Requirement("security", 1, "override", RULE, "a.rego", 3, SET, override=True)
    _ruled(judged("needs_approval", **soft, override={"security": 2}, requires=(less,)), "not asked of all")
    at_the_door = judged("needs_approval", "approval", **soft, override={"security": 2}, requires=(ask,))
    _ruled(at_the_door, "nobody may override it here")


def test_a_set_that_is_tried_out_denies_nothing(judged):
    """Its violations are spared; but no set is stricter than it was attached."""
    assert judged(level=Level.SHADOW, spared=(_violation(level=Level.SHADOW),)).ok
    _ruled(judged("deny", level=Level.ADVISORY, violations=(_violation(),)), "its set is attached more mildly")
    _ruled(judged("deny", violations=(_violation(set=canonical.digest(b"x")),)), "of a set that is not attached")


@pytest.mark.parametrize(
    ("outcome", "said", "follows"),
    [
        ("allow", {"violations": (_violation(),)}, "deny"),
        ("allow", {"error": "timeout: slow"}, "deny"),
        ("allow", {"requires": (policy.Requirement("platform", 1, "m"),)}, "needs_approval"),
        ("needs_approval", {}, "allow"),
    ],
)
def test_the_outcome_follows_from_what_the_sets_say(judged, outcome, said, follows):
    """An allow beside a violation, or in trouble, is none."""
    _ruled(judged(outcome, **said), f"from what its sets say {follows} follows")


def test_who_exempts_does_not_approve(room, exempt, sealed, bench, person):
    """Whoever let a rule pass made part of what is judged, so their yes is not one."""
    exempt(who="grace")
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("platform", 1),))
    spared = {"spared": (_violation(exemption=EXEMPTION),), "environment": "dev"}
    scribe.decided("plan", "needs_approval", "bucket", requires=(("platform", 1),), said=spared)
    scribe.waiting(asks=(("platform", 1),))
    yes = scribe.voted(person("grace"))
    scribe.intended(decisions, (yes,))
    report = bench.check(sealed(scribe.done()))
    assert "grace made this change" in " ".join(problem.message for problem in report.problems)


def test_a_policy_set_that_was_lost_is_missed_where_it_let_something_pass(room, sealed, bench):
    """A decision that denied because it could not read the set is whole without it; an allow is not."""
    lost = Attached(canonical.digest(b"lost"), "base")
    for outcome, error, ok in (("deny", "bundle_missing: gone", True), ("allow", None, False)):
        scribe = room.begin().asked()
        scribe.held[lost.set] = b""
        decision = scribe.decided("trigger", outcome, attached=(lost,), said={"error": error, "violations": ()})
        parts_of = scribe.parts

        def parts(parts_of=parts_of):
            made = parts_of()
            files = {name: data for name, data in made.files.items() if lost.set[7:] not in name}
            return replace(made, files=files)

        scribe.parts = parts
        if ok:
            scribe.record(Kind.RUN_DENIED, data={"decision": decision})
        else:
            scribe.admitted(decisions=(decision,))
        report = bench.check(sealed(scribe.closed("denied" if ok else "succeeded")))
        assert report.ok is ok, report.problems
        if not ok:
            assert {p.file for p in report.problems} == {f"policy-bundle/{lost.set[7:]}.json"}
