"""Decisions as records, on both databases: whole, exact, and only together with what they govern."""

from __future__ import annotations

from decimal import Decimal

import pytest
import sqlalchemy as sa

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel import canonical
from mandamus.kernel.access import MEMBER, Subject
from mandamus.kernel.attachment import Attached
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Ids, RunId
from mandamus.policy.model import Outcome, Point
from mandamus.policy.service import Policy
from mandamus.policy.store import INLINE_BYTES_MAX
from mandamus.store.tables.audit import audit_event
from mandamus.store.tables.policy import decision, policy_set

RULES = """package mandamus.plan

deny contains {"msg": "no", "remedy": "do not", "meta": {"f": input.f}} if input.x == 1
warn contains "careful" if input.x == 2
require_approval contains {"group": "platform", "count": 2} if input.x == 3
deny contains 1 / input.zero if input.x == 4
"""
RUN = RunId("run_1")
NOW_US = 1_767_225_600_000_000


@pytest.fixture
def policy(database, blobs, home, clock, entropy, pool, real_clock) -> Policy:
    audit = Audit(database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
    return Policy(database, blobs, audit, pool, real_clock, Ids(clock, entropy))


@pytest.fixture
def digest(database, policy, who, write):
    with database.begin("publish") as tx:
        return policy.publish(tx, who, policy.read(write({"plan.rego": RULES})), "base").digest


@pytest.fixture
def judge(policy, digest):
    """A verdict of the rules above."""

    def judged(at_us=NOW_US, **document):
        sets = [Attached(digest, "base")]
        return policy.decide(Point.PLAN, {"f": Decimal("1.10"), **document}, sets, protected=True, now_us=at_us)

    return judged


def record(database, policy, who, verdict, run=RUN, step="build") -> DecisionId:
    with database.begin("record") as tx:
        return policy.record(tx, who, verdict, run, step)


def count(database, table) -> int:
    with database.read() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(table))


def last_leaf(database) -> dict:
    with database.read() as conn:
        newest = sa.select(audit_event.c.leaf).order_by(audit_event.c.event_id.desc()).limit(1)
        return canonical.loads(conn.scalar(newest))


@pytest.mark.parametrize("x", [0, 1, 2, 3, 4])
def test_what_is_read_back_is_what_was_decided(database, policy, who, judge, x):
    """Every field of the verdict, the input byte for byte, fractions with their text: allow, deny, needs, fault."""
    verdict = judge(x=x, zero=0)
    assert (
        verdict.outcome
        is [
            Outcome.ALLOW,
            Outcome.DENY,
            Outcome.ALLOW,
            Outcome.NEEDS_APPROVAL,
            Outcome.DENY,
        ][x]
    )
    found = policy.get(who, record(database, policy, who, verdict))
    assert found.verdict == verdict
    assert (found.run, found.step) == (RUN, "build")
    assert verdict.input == canonical.dumps(
        {"f": Decimal("1.10"), "now": "2026-01-01T00:00:00.000000Z", "point": "plan", "x": x, "zero": 0}
    )
    with database.read() as conn:
        assert conn.scalar(sa.select(decision.c.input)) == verdict.input


def test_a_fault_is_recorded_with_its_kind(database, policy, who, judge):
    """A deny by trouble says which trouble, in the row and in the event's outcome."""
    verdict = judge(x=4, zero=0)
    id_ = record(database, policy, who, verdict)
    assert policy.get(who, id_).verdict.error == verdict.error
    assert verdict.error.startswith("eval_error: ")
    leaf = last_leaf(database)
    assert (leaf["kind"], leaf["outcome"], leaf["data"]["outcome"]) == ("decision.recorded", "denied", "deny")


def test_the_leaf_names_input_sets_and_engine_by_digest(database, policy, who, judge, digest):
    """Anyone who verifies the log can tell which bytes were judged by which rules, and what came out."""
    verdict = judge(x=0)
    id_ = record(database, policy, who, verdict)
    assert last_leaf(database)["data"] == {
        "decision": id_,
        "point": "plan",
        "outcome": "allow",
        "input": canonical.digest(verdict.input),
        "document": canonical.digest_of(policy.get(who, id_).to_json()),
        "sets": [digest],
        "engine": verdict.engine,
    }


def test_a_decision_and_what_it_governs_stand_or_fall_together(database, policy, who, judge):
    """A failure after the record, in the same transaction, leaves neither row nor event."""
    events = count(database, audit_event)
    with pytest.raises(RuntimeError), database.begin("test") as tx:
        policy.record(tx, who, judge(x=0), RUN, None)
        raise RuntimeError
    assert count(database, decision) == 0
    assert count(database, audit_event) == events


def test_a_large_input_is_a_blob_and_as_exact(database, policy, who, judge, blobs):
    """Over 64 KiB the bytes lie in the blob store under the digest that the row names; the verdict reads the same."""
    small = judge(x=0, pad="y" * (INLINE_BYTES_MAX - 200))
    large = judge(x=0, pad="y" * INLINE_BYTES_MAX)
    for verdict, inline in ((small, True), (large, False)):
        id_ = record(database, policy, who, verdict)
        with database.read() as conn:
            row = conn.execute(sa.select(decision).where(decision.c.id == id_)).one()
        assert (row.input is not None) == inline
        assert blobs.has(verdict.input_digest) != inline
        assert policy.get(who, id_).verdict == verdict
    assert blobs.get(large.input_digest) == large.input


def test_decisions_of_a_run_come_in_their_order(database, policy, who, judge):
    """Of one run, oldest first, and none of another."""
    ids = [record(database, policy, who, judge(at_us=NOW_US + x, x=x)) for x in (0, 1, 2)]
    record(database, policy, who, judge(x=0), run=RunId("run_2"))
    record(database, policy, who, judge(x=0), run=None, step=None)
    assert [found.id for found in policy.of_run(RUN)] == ids
    assert policy.of_run(RunId("run_3")) == []


def test_reading_a_decision_needs_the_permission(database, policy, who, judge):
    """A nobody may not read what was judged; a decision nobody made is told apart."""
    id_ = record(database, policy, who, judge(x=0))
    with pytest.raises(MandamusError) as caught:
        policy.get(Subject("eve", "os-user"), id_)
    assert caught.value.code is Code.FORBIDDEN
    with pytest.raises(MandamusError) as caught:
        policy.get(who, DecisionId("dec_nothing"))
    assert caught.value.code is Code.NOT_FOUND


def test_publishing_needs_the_permission(database, policy, write):
    """A member of the home may read policy, not make it: nothing is stored, in a transaction of others either."""
    with pytest.raises(MandamusError) as caught, database.begin("publish") as tx:
        policy.publish(tx, Subject("eve", "os-user", frozenset(), MEMBER), policy.read(write({"plan.rego": RULES})))
    assert caught.value.code is Code.FORBIDDEN
    assert count(database, policy_set) == 0


def test_a_set_is_published_once_on_each_database(database, policy, who, write, digest):
    """The same files from another folder are the same set: one row, one event, also from two transactions."""
    events = count(database, audit_event)
    with database.begin("publish") as tx:
        assert policy.publish(tx, who, policy.read(write({"plan.rego": RULES})), "base").digest == digest
    assert count(database, policy_set) == 1
    assert count(database, audit_event) == events


def test_a_set_that_was_rolled_back_can_be_published_again(database, policy, who, write):
    """The snapshot's blob may outlive a failed transaction; the row and the event do not."""
    with pytest.raises(RuntimeError), database.begin("publish") as tx:
        policy.publish(tx, who, policy.read(write({"plan.rego": RULES})))
        raise RuntimeError
    assert count(database, policy_set) == 0
    with database.begin("publish") as tx:
        policy.publish(tx, who, policy.read(write({"plan.rego": RULES})))
    assert count(database, policy_set) == 1
