"""What happened as it should verifies, whatever the end of the run was, and says what an auditor should know."""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import replace

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Verdict
from mandamus.kernel.errors import Exit
from mandamus.runs.model import Binding


def _ok(report):
    assert report.ok, [str(problem) for problem in report.problems]
    return report


def test_a_governed_run_verifies(governed, sealed, bench):
    """Request, decisions, plans, approval, effects, results: all of it proved by the log's key alone."""
    report = _ok(bench.check(sealed(governed)))
    assert (report.outcome, report.outcome.exit) == (Verdict.OK, Exit.OK)
    assert (report.run, report.state, report.origin) == (governed.run, "succeeded", "log.example.com/home")
    assert report.notes == ()
    assert json.dumps(report.to_json())


def test_the_bundle_holds_what_an_auditor_looks_for(governed, sealed, bench):
    """Names a person finds: a README, the summary, the workflow, per step the plan, change set, binding and result."""
    names = set(bench.files(sealed(governed)))
    fixed = {"README.txt", "manifest.dsse.json", "summary.json", "workflow.yaml", "checkpoint", "trust.json"}
    fixed |= {f"attestations/{name}.dsse.json" for name in ("policy.vsa", "change", "approvals")}
    steps = {f"steps/{s}.1/{d}.json" for s in ("bucket", "smoke") for d in ("plan", "change_set", "binding", "result")}
    assert fixed | steps <= names
    assert {name.split("/")[0] for name in names - fixed - steps} == {
        "events",
        "decisions",
        "approvals",
        "policy-bundle",
    }
    assert len(bench.files(sealed(governed))["README.txt"].splitlines()) <= 12


def test_it_is_small_and_quick_to_verify(room, sealed, bench, record_property):
    """A small run takes at most 50 KB beside its plan; its verification is measured."""
    scribe = room.begin().asked().admitted().applied("bucket", asks=(("platform", 1),), by=("grace",)).closed()
    data = sealed(scribe)
    start = time.process_time()
    for _ in range(20):
        _ok(bench.check(data))
    record_property("verify_cpu_ms", (time.process_time() - start) * 50)
    record_property("bytes", len(data))
    assert len(data) <= 50_000


def test_the_same_run_gives_the_same_bytes(governed, room, bench):
    """Nothing in a bundle depends on when or where it is made: no time of the wall clock, no order of a hash."""
    parts, leaves = governed.parts(), room.leaves(governed.run)
    checkpoint = room.audit.flush()
    one, other = (room.evidence._bundle(parts, leaves, checkpoint) for _ in range(2))
    assert one == other
    with zipfile.ZipFile(io.BytesIO(one)) as found:
        assert {info.date_time for info in found.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert found.namelist() == sorted(found.namelist())
    _ok(bench.check(one))


def test_a_run_denied_at_the_door_verifies(room, sealed, bench):
    """No step, no effect: the request, the decision and the denial are the whole proof."""
    report = _ok(bench.check(sealed(room.begin().asked().denied().closed("denied"))))
    assert report.state == "denied"


def test_a_run_that_only_plans_verifies(room, sealed, bench):
    """Its steps end planned, and nothing was applied."""
    scribe = room.begin(plan_only=True).asked().admitted()
    scribe.planned("bucket", asks=(("platform", 1),))
    scribe.steps["bucket"] = ("planned", 1)
    assert _ok(bench.check(sealed(scribe.closed("planned")))).state == "planned"


def test_other_ends_verify(room, sealed, bench, person):
    """Denied after the plan, rejected by a human, cancelled while it waited, failed before the effect, skipped."""
    denied = room.begin().asked().admitted()
    denied.planned()
    denied.decided("plan", "deny", "bucket", change_set={})
    denied.finished("bucket", "denied")
    _ok(bench.check(sealed(denied.closed("denied"))))

    rejected = room.begin().asked().admitted()
    rejected.planned(asks=(("platform", 1),))
    rejected.waiting(asks=(("platform", 1),))
    rejected.voted(person("grace"), verdict="no")
    rejected.finished("bucket", "rejected")
    _ok(bench.check(sealed(rejected.closed("rejected"))))

    cancelled = room.begin().asked().admitted()
    cancelled.planned(asks=(("platform", 1),))
    cancelled.waiting(asks=(("platform", 1),))
    cancelled.record(Kind.RUN_CANCELLED, who=person("ada"))
    cancelled.finished("bucket", "cancelled")
    _ok(bench.check(sealed(cancelled.closed("cancelled"))))

    failed = room.begin().asked().admitted()
    failed.finished("bucket", "failed")
    failed.finished("smoke", "skipped")
    _ok(bench.check(sealed(failed.closed("failed"))))


def test_a_retry_in_the_same_run_keeps_both_attempts(room, sealed, bench):
    """A failed attempt and the one that followed: plans, bindings and results of both are in the bundle."""
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned("bucket"))
    scribe.ended("bucket", ok=False, outputs={"id": "half"})
    scribe.intended(scribe.planned("bucket", attempt=2), attempt=2)
    scribe.ended("bucket", attempt=2)
    data = sealed(scribe.closed())
    _ok(bench.check(data))
    names = bench.files(data)
    for attempt in (1, 2):
        assert {f"steps/bucket.{attempt}/binding.json", f"steps/bucket.{attempt}/result.json"} <= names.keys()


def test_two_plans_in_one_attempt_are_both_kept(room, sealed, bench, person):
    """Something moved while the step waited: the void binding and the one that was approved are both shown."""
    scribe = room.begin().asked().admitted()
    asks = (("platform", 1),)
    scribe.planned(asks=asks)
    scribe.waiting(asks=asks)
    scribe.record(Kind.STEP_MOVED, "bucket", data={"attempt": 1, "what": "state", "then": "plan"})
    decisions = scribe.planned(asks=asks)
    scribe.waiting(asks=asks)
    scribe.intended(decisions, (scribe.voted(person("grace")),))
    scribe.ended()
    data = sealed(scribe.closed())
    _ok(bench.check(data))
    assert {"steps/bucket.1/binding.json", "steps/bucket.1/binding.2.json"} <= bench.files(data).keys()


def test_another_question_to_people_is_another_binding(room, sealed, bench, person):
    """Policy moved and asks afresh: the wait itself names the binding that people then approve."""
    scribe = room.begin().asked().admitted()
    scribe.planned(asks=(("platform", 1),))
    scribe.waiting(asks=(("platform", 1),))
    scribe.record(Kind.STEP_MOVED, "bucket", data={"attempt": 1, "what": "policy", "then": "judge"})
    held: Binding = scribe.bindings["bucket"]
    seen = {"schema": "changeset/1", "changes": [{"address": "bucket.bucket"}]}
    again = scribe.decided("plan", "needs_approval", "bucket", change_set=seen, requires=(("platform", 2),))
    scribe.bindings["bucket"] = replace(held, expires_us=held.expires_us + 1)
    scribe.waiting(asks=(("platform", 2),))
    votes = tuple(scribe.voted(person(name)) for name in ("grace", "alan"))
    scribe.intended((again,), votes)
    scribe.ended()
    _ok(bench.check(sealed(scribe.closed())))


def test_a_run_that_was_tried_again_verifies_at_each_end(room, sealed, bench, person):
    """Every closing has a bundle of its own, and the later one tells the whole story; who retried is a maker then."""
    scribe = room.begin().asked().admitted()
    scribe.finished("bucket", "failed")
    first = sealed(scribe.closed("failed"))
    scribe.record(Kind.RUN_RETRIED, who=person("grace"), data={"steps": ["bucket"]})
    scribe.makers = ("ada", "grace", "ops")
    decisions = scribe.planned("bucket", attempt=2)
    scribe.intended(decisions, attempt=2)
    scribe.ended("bucket", attempt=2)
    second = sealed(scribe.closed())
    assert (_ok(bench.check(first)).state, _ok(bench.check(second)).state) == ("failed", "succeeded")


def test_a_no_counts_for_what_it_was_said_to(room, sealed, bench, person):
    """A no to a plan that is void, or to another attempt at the same plan, does not taint what was approved."""
    scribe = room.begin().asked().admitted()
    asks = (("platform", 1),)
    scribe.planned(asks=asks)
    scribe.waiting(asks=asks)
    scribe.voted(person("alan"), verdict="no")
    scribe.finished("bucket", "rejected")
    scribe.closed("rejected")
    scribe.record(Kind.RUN_RETRIED, who=person("ada"), data={"steps": ["bucket"]})
    decisions = scribe.planned(attempt=2, asks=asks)
    scribe.waiting(attempt=2, asks=asks)
    kept = scribe.bindings["bucket"]
    scribe.intended(decisions, (scribe.voted(person("grace")),), attempt=2)
    scribe.ended(attempt=2, ok=False)
    scribe.planned(attempt=3, asks=asks, expires_us=kept.expires_us)
    scribe.waiting(attempt=3, asks=asks)
    scribe.voted(person("alan"), verdict="no")
    scribe.finished("bucket", "rejected", attempt=3)
    _ok(bench.check(sealed(scribe.closed("rejected"))))


def test_who_approved_before_they_became_a_maker_counts(room, sealed, bench, person):
    """Grace's yes stands for the step it was given for, also when she has another step tried again later."""
    scribe = room.begin().asked().admitted()
    scribe.applied("bucket", asks=(("platform", 1),), by=("grace",))
    scribe.finished("smoke", "failed")
    scribe.closed("failed")
    scribe.record(Kind.RUN_RETRIED, who=person("grace"), data={"steps": ["smoke"]})
    scribe.makers = ("ada", "grace", "ops")
    scribe.intended(scribe.planned("smoke", attempt=2), step="smoke", attempt=2)
    scribe.ended("smoke", attempt=2)
    _ok(bench.check(sealed(scribe.closed())))


def test_an_effect_that_was_settled_verifies(room, sealed, bench, person):
    """By a probe with its result, as never begun, and by a human's word, which the report repeats."""
    probed = room.begin().asked().admitted()
    probed.intended(probed.planned())
    probed.settled("succeeded")
    probed.ended()
    _ok(bench.check(sealed(probed.closed())))

    void = room.begin().asked().admitted()
    void.intended(void.planned())
    void.settled("not_started")
    void.record(Kind.STEP_RETRYING, "bucket", data={"attempt": 1, "not_before_us": 0})
    void.intended(void.planned(attempt=2), attempt=2)
    void.ended(attempt=2)
    _ok(bench.check(sealed(void.closed())))

    human = room.begin().asked().admitted()
    human.intended(human.planned())
    human.record(Kind.EFFECT_INDETERMINATE, "bucket", data={"attempt": 1, "phase": "apply"})
    human.settled("succeeded", by_probe=False, who=person("grace"))
    human.finished("bucket", "succeeded")
    report = _ok(bench.check(sealed(human.closed())))
    assert len(report.notes) == 1
    assert "grace settled step bucket as succeeded: looked at it" in report.notes[0]


def test_claimed_identities_are_shown(room, sealed, bench, person):
    """An identity that was only claimed is no fault, and an auditor reads of it, with the leaves."""
    scribe = room.begin(requester=person("ada", "local, unverified")).asked().admitted().closed()
    report = _ok(bench.check(sealed(scribe)))
    assert report.notes == ("ada is only claimed (local, unverified): leaf 1, 3",)


def test_a_missing_sandbox_is_shown(room, sealed, bench, person):
    """A step that runs without a sandbox is what people approved, and an auditor reads of it, once."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(sandbox="none", asks=(("platform", 1),))
    scribe.waiting(asks=(("platform", 1),))
    scribe.intended(decisions, (scribe.voted(person("grace")),))
    report = _ok(bench.check(sealed(scribe.done())))
    assert len(report.notes) == 1
    assert "without a sandbox" in report.notes[0]


def test_approvals_that_any_decision_asks_for_are_counted(room, sealed, bench, person):
    """A rule without a group asks for the environment's approvers: that many people have to be there."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("", 2),))
    scribe.waiting(asks=(("platform", 2),))
    votes = tuple(scribe.voted(person(name)) for name in ("grace", "alan"))
    scribe.intended(decisions, votes)
    scribe.ended()
    _ok(bench.check(sealed(scribe.closed())))


def test_a_run_of_many_steps_verifies(room, sealed, bench, record_property):
    """Cost grows with the steps, not with their square: 60 steps are verified well within a second."""
    scribe = room.begin().asked().admitted()
    for number in range(60):
        scribe.applied(f"s{number}")
    data = sealed(scribe.closed())
    start = time.process_time()
    _ok(bench.check(data))
    record_property("verify_cpu_ms_60_steps", (time.process_time() - start) * 1000)


def test_authority_is_read(room, sealed, bench):
    """A run without any step is proved as well: admitted on a decision, closed."""
    decision = room.begin().asked()
    decision.record(Kind.RUN_ADMITTED, authority=Authority((decision.decided("trigger"),)))
    _ok(bench.check(sealed(decision.closed())))
