"""Approvals that should not count do not, although the platform sealed them and every leaf is genuine."""

from __future__ import annotations

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.signer import Signer
from mandamus.kernel import canonical

ASKS = (("platform", 1),)


@pytest.mark.parametrize("name", ["ada", "ops"])
def test_an_approval_by_a_maker(waits, refused, person, name):
    """Neither who asked nor who made what it is judged by may approve it, even when every document says they may."""
    scribe, decisions = waits
    scribe.intended(decisions, (scribe.voted(person(name), makers=[]),))
    report = refused(scribe.done(), f"{name} made this change", "approvals/")
    assert any("needs 1 approvals of platform and has 0" in problem.message for problem in report.problems)


def test_an_approval_by_someone_acting_for_a_maker(waits, refused):
    """A program that acts for a maker is that maker."""
    scribe, decisions = waits
    scribe.requester = scribe.requester.__class__("bot", "os-user", behalf_of="ada")
    vote = scribe.voted(scribe.requester, makers=[])
    scribe.requester = scribe.room.begin().requester
    scribe.intended(decisions, (vote,))
    refused(scribe.done(), "ada made this change", "approvals/")


def test_a_maker_who_only_policys_input_names(waits, refused, person):
    """Who the summary leaves out of the makers is still one when policy was told so."""
    scribe, decisions = waits
    vote = scribe.voted(person("ops"), makers=[])
    scribe.makers = ("ada",)
    scribe.intended(decisions, (vote,))
    refused(scribe.done(), "ops made this change", "approvals/")


def test_an_approval_by_who_had_it_tried_again(room, refused, person):
    """Whoever has a run tried again is one of its makers from then on."""
    scribe = room.begin().asked().admitted()
    scribe.finished("bucket", "failed")
    scribe.closed("failed")
    scribe.record(Kind.RUN_RETRIED, who=person("grace"), data={"steps": ["bucket"]})
    decisions = scribe.planned(attempt=2, asks=ASKS)
    scribe.waiting(attempt=2, asks=ASKS)
    scribe.intended(decisions, (scribe.voted(person("grace")),), attempt=2)
    scribe.ended(attempt=2)
    refused(scribe.closed(), "grace made this change", "approvals/")


def test_an_old_approval_by_who_had_it_tried_again(room, refused, person):
    """Who has a step tried again cannot rely on a yes of their own to the same plan from before."""
    scribe = room.begin().asked().admitted()
    scribe.planned(asks=ASKS)
    scribe.waiting(asks=ASKS)
    vote, kept = scribe.voted(person("grace")), scribe.bindings["bucket"]
    scribe.finished("bucket", "failed")
    scribe.closed("failed")
    scribe.record(Kind.RUN_RETRIED, who=person("grace"), data={"steps": ["bucket"]})
    decisions = scribe.planned(attempt=2, asks=ASKS, expires_us=kept.expires_us)
    scribe.waiting(attempt=2, asks=ASKS)
    scribe.intended(decisions, (vote,), attempt=2)
    scribe.ended(attempt=2)
    refused(scribe.closed(), "by grace, who made this change")


def test_an_approval_after_the_effect(waits, refused, person):
    """A yes that stands in the log after the promise came too late, whatever time it claims."""
    scribe, decisions = waits
    early = scribe.room.ids.approval()
    scribe.intended(decisions, (early,))
    scribe.voted(person("grace"), approval=early)
    refused(scribe.done(), "came later")


def test_too_few_approvals(room, refused, person):
    """Two were asked for and one said yes; the same person twice is one person."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("platform", 2),))
    scribe.waiting(asks=(("platform", 2),))
    votes = (scribe.voted(person("grace")), scribe.voted(person("grace")))
    scribe.intended(decisions, votes)
    report = refused(scribe.done(), "needs 2 approvals of platform and has 1")
    assert any("decided twice" in problem.message for problem in report.problems)


def test_an_override_that_gives_no_reason(room, refused, person):
    """Whoever lets a rule be broken says why; the same yes with a reason is evidence that holds."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("platform", 1),))
    scribe.waiting(requires=[{"group": "platform", "count": 1, "why": "override of a rule", "override": True}])
    scribe.intended(decisions, (scribe.voted(person("grace"), reason="", told=""),))
    refused(scribe.done(), "by grace overrides a rule and gives no reason")


def test_what_is_asked_at_the_request(room, refused):
    """A step that goes on without what the decision at `trigger` asks for is refused."""
    scribe = room.begin().asked()
    scribe.admitted(decisions=(scribe.decided("trigger", "needs_approval", requires=(("platform", 1),)),))
    decisions = scribe.planned()
    scribe.intended(decisions, ())
    refused(scribe.done(), "needs 1 approvals of platform and has 0")


def test_an_approval_of_another_group(room, refused, person):
    """A yes for one group does not count for another."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("security", 1),))
    scribe.waiting(asks=(("security", 1),))
    scribe.intended(decisions, (scribe.voted(person("grace")),))
    refused(scribe.done(), "needs 1 approvals of security and has 0")


def test_an_approval_for_a_group_they_are_not_in(room, refused, person):
    """A yes counts for a group that the person was in when they gave it, whatever the document says."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("security", 1),))
    scribe.waiting(asks=(("security", 1),))
    scribe.intended(decisions, (scribe.voted(person("grace"), group="security"),))
    refused(scribe.done(), "grace was not in security", "approvals/")


def test_no_approval_although_policy_asks(room, refused):
    """A promise that does not wait where policy asks for people is refused, also when no event says it waited."""
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned(asks=ASKS))
    refused(scribe.done(), "needs 1 approvals of platform and has 0")
    anyone = room.begin().asked().admitted()
    anyone.intended(anyone.planned(asks=(("", 1),)))
    refused(anyone.done(), "needs 1 approvals and has 0")


def test_a_no_that_was_passed_over(waits, refused, person):
    """Where somebody said no, nothing may be applied."""
    scribe, decisions = waits
    yes = scribe.voted(person("grace"))
    scribe.voted(person("alan"), verdict="no")
    scribe.intended(decisions, (yes,))
    refused(scribe.done(), "alan had said no")


def test_a_no_that_is_counted_as_a_yes(waits, refused, person):
    """A promise cannot stand on somebody's no."""
    scribe, decisions = waits
    scribe.intended(decisions, (scribe.voted(person("grace"), verdict="no"),))
    refused(scribe.done(), "no yes to this binding")


def test_an_approval_of_something_else(waits, refused, person):
    """A yes to another binding is no yes to this one."""
    scribe, decisions = waits
    other = canonical.digest(b"another plan")
    vote = scribe.voted(person("grace"), binding=other)
    scribe.intended(decisions, (vote,))
    report = refused(scribe.done(), f"nobody was asked about the binding {other}", "approvals/")
    assert any("not there, not sound" in problem.message for problem in report.problems)


def test_an_expired_approval(waits, refused, person, clock):
    """An approval counts until its time is over, and nobody can decide after that."""
    scribe, decisions = waits
    vote = scribe.voted(person("grace"))
    clock.advance(2 * 86_400)
    late = scribe.voted(person("alan"))
    scribe.intended(decisions, (vote, late))
    report = refused(scribe.done(), "had expired")
    assert any("after the time to decide was over" in problem.message for problem in report.problems)


def test_an_approval_that_the_platform_did_not_sign(waits, refused, person):
    """Signed by another key, under its own name or the platform's, it is nobody's word."""
    scribe, decisions = waits
    stranger = Signer(scribe.room.platform.name, b"\x55" * 32)
    votes = (
        scribe.voted(person("grace"), signer=stranger),
        scribe.voted(person("alan"), signer=stranger, key_id=scribe.room.platform.key_id),
    )
    scribe.intended(decisions, votes)
    report = refused(scribe.done(), "not signed by the platform's key", "approvals/")
    assert sum("not signed" in problem.message for problem in report.problems) == 2


@pytest.mark.parametrize(
    ("field", "value"), [("by", "alan"), ("reason", "other"), ("step", "smoke"), ("run", "run_x"), ("authn", "oidc")]
)
def test_a_document_that_says_other_than_its_event(waits, refused, person, field, value):
    """A signed document counts only as the event that recorded it tells."""
    scribe, decisions = waits
    scribe.intended(decisions, (scribe.voted(person("grace"), **{field: value}),))
    refused(scribe.done(), f"its {field} is", "approvals/")


def test_neither_yes_nor_no(waits, refused, person):
    """A word that is neither does not count, whoever signed it."""
    scribe, decisions = waits
    scribe.intended(decisions, (scribe.voted(person("grace"), verdict="maybe"),))
    refused(scribe.done(), "'maybe' is neither yes nor no", "approvals/")


def test_a_signature_that_names_another_key(waits, refused, person):
    """The key that is named beside a signature is the one that made it."""
    scribe, decisions = waits
    scribe.intended(decisions, (scribe.voted(person("grace"), key_id="00000000"),))
    refused(scribe.done(), "not signed by the platform's key", "approvals/")


def test_an_approval_that_lasts_longer_than_what_was_asked(waits, refused, person):
    """The time to decide is that of the binding."""
    scribe, decisions = waits
    longer = scribe.bindings["bucket"].expires_us + 1
    scribe.intended(decisions, (scribe.voted(person("grace"), expires_us=longer),))
    refused(scribe.done(), "after the time to decide was over", "approvals/")


def test_an_approval_that_nobody_waited_for(room, refused, person):
    """A yes before the step waits for it answers no question."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=ASKS)
    scribe.intended(decisions, (scribe.voted(person("grace")),))
    refused(scribe.done(), "nobody was asked", "approvals/")


def test_fewer_people_than_the_step_waited_for(room, refused, person):
    """The environment's approvers count more than the rule that asked for them; the wait says how many."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("", 1),))
    scribe.waiting(asks=(("platform", 2),))
    scribe.intended(decisions, (scribe.voted(person("grace")),))
    refused(scribe.done(), "needs 2 approvals of platform and has 1")


def test_a_promise_on_an_approval_that_does_not_exist(waits, refused):
    """An id alone is no approval."""
    scribe, decisions = waits
    scribe.intended(decisions, ("apr_00000000000000000000000000",))
    refused(scribe.done(), "which is not there")


def test_an_approval_of_a_plan_that_is_void(waits, refused, person):
    """A genuine yes to the plan before is no yes to the one that is applied."""
    scribe, _ = waits
    old = scribe.voted(person("grace"))
    scribe.record(Kind.STEP_MOVED, "bucket", data={"attempt": 1, "what": "state", "then": "plan"})
    decisions = scribe.planned(asks=ASKS)
    scribe.waiting(asks=ASKS)
    scribe.intended(decisions, (old,))
    refused(scribe.done(), "no yes to this binding")
