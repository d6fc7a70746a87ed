"""A story that no honest run tells is refused, although the platform sealed it and every leaf is genuine."""

from __future__ import annotations

import json

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Verdict
from mandamus.evidence.model import Parts
from mandamus.kernel import canonical

# --- policy -----------------------------------------------------------------------------------------------------------


def test_an_effect_that_policy_denied(room, refused):
    """A deny at any point that the promise names, or at the door, is a deny."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned()
    scribe.intended((*decisions, scribe.decided("apply", "deny", "bucket", plan={"binding": "x"})))
    refused(scribe.done(), "which denies it")
    refused(room.begin().asked().admitted("deny").closed(), "which denies it")


def test_an_effect_without_a_decision(room, refused):
    """No promise without an allow; a decision of another step, or made afterwards, is none."""
    scribe = room.begin().asked().admitted()
    scribe.planned()
    scribe.intended(())
    refused(scribe.done(), "it stands on no decision")
    other = room.begin().asked().admitted()
    foreign = other.planned("smoke")
    other.planned("bucket")
    other.intended(foreign)
    report = refused(other.done(), "which was not made for it")
    assert report.outcome is Verdict.TAMPERED


def test_a_decision_made_afterwards(room, refused):
    """Who judges after the promise has judged nothing; who lets a run in after it neither."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned()
    late = room.ids.decision()
    scribe.intended((*decisions, late))
    scribe.decided("apply", step="bucket", plan={"binding": scribe.bindings["bucket"].digest}, id=late)
    refused(scribe.done(), f"the decision {late}, which was not made for it")
    early = room.begin().asked()
    early.intended(early.planned())
    early.ended()
    refused(early.admitted().closed(), "not admitted")


def test_a_decision_that_asks_for_nobody(room, refused):
    """A verdict that needs approvals says whose."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned()
    scribe.intended((*decisions, scribe.decided("step", "needs_approval", "bucket")))
    refused(scribe.done(), "does not say for whose")


def test_a_decision_on_another_plan(room, refused):
    """Policy must have seen the very change set that is bound, and at the last question the very binding."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(judged="harmless")
    last = scribe.decided("apply", step="bucket", plan={"binding": canonical.digest(b"other")})
    scribe.intended((*decisions, last))
    report = refused(scribe.done(), "judged another change set")
    assert any("judged another binding" in problem.message for problem in report.problems)


def test_a_plan_that_nobody_judged(room, refused):
    """A decision at another point does not judge a plan."""
    scribe = room.begin().asked().admitted()
    may, _ = scribe.planned()
    scribe.intended((may,))
    refused(scribe.done(), "no decision judged the plan")


def test_a_denial_without_a_reason(room, refused):
    """A run that was turned away was turned away by a decision that denies."""
    refused(room.begin().asked().denied("allow").closed("denied"), "without a decision that denies")


def test_a_decision_document_that_says_other_than_its_event(governed, refused):
    """The document's bytes are those that the event names, to the last byte."""
    digest = next(d for d, held in governed.held.items() if b'"format":"decision/1"' in held)
    governed.held[digest] = governed.held[digest].replace(b'"notes":[]', b'"notes":["none of it"]')
    refused(governed, "it is not the decision that leaf", "decisions/")


def test_an_input_that_policy_did_not_see(governed, refused):
    """The exact input is in the bundle, or what is there is not it."""
    digest = next(d for d, held in governed.held.items() if b'"point":"trigger","run"' in held)
    governed.held[digest] = governed.held[digest].replace(b'"ops"', b'"joe"')
    refused(governed, "it is not the input that leaf", "decisions/")


# --- plan and effect --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["run", "step", "source", "workflow", "inputs", "change_set", "artifact"])
def test_a_binding_of_something_else(room, refused, field):
    """What is bound is of this run, this step, this source and these inputs, and names the plan that was made."""
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned(**{field: canonical.digest(b"other")}))
    refused(scribe.done(), f"its {field.replace('_', ' ')} is", "steps/bucket.1/binding.json")


@pytest.mark.parametrize("field", ["binding", "artifact"])
def test_an_effect_of_another_plan(waits, refused, person, field):
    """What is promised is what was planned and approved, to the digest."""
    scribe, decisions = waits
    other = canonical.digest(b"other")
    scribe.intended(decisions, (scribe.voted(person("grace")),), **{field: other})
    refused(scribe.done(), f"the promise is {'bound to' if field == 'binding' else 'about'} {other}")


def test_an_effect_without_a_plan(room, refused):
    """Nothing is promised for an attempt that has no plan."""
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned(), attempt=2)
    scribe.ended(attempt=2)
    refused(scribe.closed(), "without a plan of its attempt")


def test_an_effect_twice(room, refused):
    """At most once: one promise and one end for each attempt."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned()
    scribe.intended(decisions)
    scribe.intended(decisions)
    scribe.ended()
    scribe.ended()
    report = refused(scribe.closed(), "promised twice in one attempt")
    assert any("ended twice" in problem.message for problem in report.problems)


def test_an_effect_nobody_knows_the_end_of(room, refused):
    """A promise needs a result or a settlement; a run that closes without one is incomplete."""
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned())
    scribe.finished("bucket", "failed")
    refused(scribe.closed("failed"), "nothing tells what became", verdict=Verdict.INCOMPLETE)


def test_an_effect_without_a_promise(room, refused):
    """No effect without a recorded intent; and no success without an effect."""
    scribe = room.begin().asked().admitted()
    scribe.planned()
    scribe.ended()
    report = refused(scribe.closed(), "ended that was never promised")
    assert any("succeeded without an effect" in problem.message for problem in report.problems)


def test_a_result_before_its_promise(room, refused):
    """What ended before it was promised was not promised before it was made."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned()
    scribe.ended()
    scribe.intended(decisions)
    refused(scribe.closed(), "ended that was never promised")


def test_an_effect_in_a_run_that_may_have_none(room, refused):
    """A run that only plans, or was never admitted, promises nothing."""
    scribe = room.begin(plan_only=True).asked().admitted()
    scribe.intended(scribe.planned())
    refused(scribe.done(), "in a run that only plans")
    barred = room.begin().asked()
    barred.intended(barred.planned())
    refused(barred.done(), "not admitted")


def test_a_result_that_is_not_the_recorded_one(room, governed, refused):
    """Outputs and outcome are those that the log names."""
    digest = next(d for d, held in governed.held.items() if b'"ok":true' in held)
    governed.held[digest] = governed.held[digest].replace(b"bucket", b"basket")
    refused(governed, "it is not the result that leaf", "steps/bucket.1/result.json")
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned())
    scribe.ended(outcome="failed")
    refused(scribe.closed(), "it says ok: True", "steps/bucket.1/result.json")
    other = room.begin().asked().admitted()
    other.intended(other.planned())
    other.finished("bucket", "succeeded", outputs=canonical.digest(b"{}"))
    other.ended()
    refused(other.closed(), "its outputs are not those", "steps/bucket.1/result.json")


def test_a_settlement_that_contradicts_the_result(room, refused):
    """What a probe said and what was recorded as the result are the same, or one of them is not true."""
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned())
    scribe.settled("failed")
    refused(scribe.done(), "as failed and as succeeded")


def test_a_wait_without_a_plan(room, refused):
    """Nobody can be asked about what was not planned."""
    scribe = room.begin().asked().admitted()
    scribe.planned()
    scribe.waiting(attempt=2)
    scribe.finished("bucket", "rejected")
    refused(scribe.closed("rejected"), "waits without a plan")


def test_a_wait_that_lasts_longer_than_its_binding(room, refused):
    """Until when people may decide is part of what they decide on."""
    scribe = room.begin().asked().admitted()
    scribe.planned()
    scribe.waiting(expires_us=scribe.bindings["bucket"].expires_us + 1)
    scribe.finished("bucket", "expired")
    refused(scribe.closed("failed"), "its expiry is", "steps/bucket.1/binding.json")


# --- request and end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [{"source": canonical.digest(b"x")}, {"environment": "prod"}, {"plan_only": True}, {"workflow": "y"}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_summary_of_something_else(room, refused, changed):
    """The summary says what was asked for, in every part that the log holds."""
    report = refused(room.begin().asked(**changed).admitted().closed(), f"its {next(iter(changed))} is", "summary.json")
    assert report.leaf is not None


def test_a_summary_by_somebody_else(room, refused, person):
    """Requester, reason, inputs and end are those of the events."""
    scribe = room.begin().asked().admitted().closed()
    scribe.requester, scribe.inputs, scribe.state = person("joe", "oidc"), {"name": "other"}, "failed"
    report = refused(scribe, "its requester is joe, and leaf", "summary.json")
    told = "\n".join(problem.message for problem in report.problems)
    for what in ("requester's identity", "inputs", "state"):
        assert f"its {what} is" in told


def test_a_step_that_ended_otherwise(room, refused):
    """Every step is in the summary as it ended, in its last attempt, and a run succeeds only as its steps do."""
    scribe = room.begin().asked().admitted()
    scribe.finished("bucket", "failed")
    scribe.steps = {"bucket": ("succeeded", 2), "ghost": ("succeeded", 1)}
    report = refused(scribe.closed(), "its state of the step bucket is succeeded", "summary.json")
    told = "\n".join(problem.message for problem in report.problems)
    assert "its attempt of the step bucket is 2" in told
    assert "no leaf tells how the step ghost ended" in told
    hidden = room.begin().asked().admitted()
    hidden.finished("bucket", "skipped")
    hidden.steps = {}
    refused(hidden.closed(), "does not name the step bucket", "summary.json")
    failed = room.begin().asked().admitted()
    failed.finished("bucket", "failed")
    refused(failed.closed(), "although its step bucket is failed", "summary.json")


def test_another_workflow(room, sealed, bench):
    """The workflow's bytes are those whose digest was asked for."""
    scribe = room.begin().asked(workflow_digest=canonical.digest(b"other")).admitted().closed()
    assert "workflow.yaml" in {problem.file for problem in bench.check(sealed(scribe)).problems}


def test_a_run_that_goes_on_after_its_end(room, refused):
    """After run.closed only a retry opens it again; and a run begins with its request."""
    scribe = room.begin().asked().admitted().closed("failed")
    scribe.finished("bucket", "skipped")
    refused(scribe.closed(), "goes on with step.finished")
    headless = room.begin()
    headless.record(Kind.RUN_ADMITTED, authority=Authority((headless.decided("trigger"),)))
    refused(headless.closed(), "begins with run.requested")


def test_a_document_that_no_leaf_names(governed, sealed, bench, room):
    """What the log does not know of has no place in the proof, even when the platform lists it; what it names, has."""
    files = bench.files(sealed(governed))
    report = bench.check(bench.forged(governed.run, {**files, "steps/bucket.1/note.json": b"{}"}))
    assert [(p.file, p.message) for p in report.problems] == [
        ("steps/bucket.1/note.json", "no leaf of the run names it")
    ]
    names = [name for name in files if not name.startswith(("events/", "approvals/", "manifest", "checkpoint"))]
    assert len(names) > 20
    for name in names:
        report = bench.check(bench.forged(governed.run, {k: v for k, v in files.items() if k != name}))
        assert (report.outcome, {problem.file for problem in report.problems}) == (Verdict.INCOMPLETE, {name})
    (yes,) = (name for name in files if name.startswith("approvals/"))
    report = bench.check(bench.forged(governed.run, {k: v for k, v in files.items() if k != yes}))
    assert report.problems[0].file == yes
    assert any("needs 1 approvals" in problem.message for problem in report.problems)


def test_missing_events(governed, sealed, bench):
    """A bundle without its last event, its first, or one between, listed as whole by the platform itself."""
    files = bench.files(sealed(governed))
    leaves = sorted(int(name[7:-5]) for name in files if name.startswith("events/") and name.endswith(".json"))
    for gone, told in (
        (leaves[-1], "run.closed, is missing"),
        (leaves[1], "event 0 is missing"),
        (leaves[5], "missing"),
    ):
        left = {
            name: data
            for name, data in files.items()
            if name not in (f"events/{gone}.json", f"events/{gone}.tlog-proof")
        }
        report = bench.check(bench.forged(governed.run, left))
        assert report.outcome is Verdict.INCOMPLETE
        assert told in report.problems[0].message


@pytest.mark.parametrize("name", ["summary.json", "approvals", "steps/bucket.1/binding.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"steps":7}', b"\xff", b'{"a":1,"a":2}', b"null", b"[" * 9000])
def test_documents_of_another_form(governed, sealed, bench, name, content):
    """Whatever stands in a document, the answer is a finding that names it, never an error."""
    files = bench.files(sealed(governed))
    file = next(each for each in files if each.startswith(name))
    report = bench.check(bench.forged(governed.run, {**files, file: content}))
    assert not report.ok
    assert file in {problem.file for problem in report.problems}
    assert json.dumps(report.to_json())


def test_events_of_another_form(room, sealed, bench):
    """An event whose data lacks what its kind tells is a finding with its leaf, never an error."""
    for kind in (
        Kind.STEP_PLANNED,
        Kind.STEP_WAITING,
        Kind.DECISION_RECORDED,
        Kind.APPROVAL_RECORDED,
        Kind.EFFECT_INTENDED,
        Kind.EFFECT_FINISHED,
        Kind.EFFECT_SETTLED,
        Kind.STEP_FINISHED,
        Kind.RUN_DENIED,
        Kind.RUN_REQUESTED,
    ):
        scribe = room.begin().asked().admitted()
        scribe.record(kind, "bucket")
        leaf = room.leaves(scribe.run)[-1].index
        parts = _parts(scribe.closed())
        report = bench.check(room.blobs.get(room.evidence.seal(scribe.requester, parts)))
        assert not report.ok, kind
        assert leaf in {problem.leaf for problem in report.problems} or kind is Kind.RUN_REQUESTED


def _parts(scribe):
    """What can be gathered for a run whose events name no documents."""
    try:
        return scribe.parts()
    except KeyError:
        made = scribe.room.begin().asked().admitted().closed().parts()
        files = {"workflow.yaml": made.files["workflow.yaml"]}
        return Parts(scribe.run, scribe.room.leaves(scribe.run), scribe.summary(), files)
