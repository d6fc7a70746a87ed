"""The back-test: what a candidate would have changed, told exactly, and never without saying whether to believe it."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
import sqlalchemy as sa

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject
from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import ExemptionId, Ids, RunId
from mandamus.policy import backtest_rows, backtest_work, replay, store
from mandamus.policy.backtest import Backtests
from mandamus.policy.backtest_model import Chosen, Kind
from mandamus.policy.backtest_work import Listener
from mandamus.policy.model import BuiltinErrors, Exemption, Options, Point
from mandamus.policy.service import Policy
from mandamus.policy.store import INLINE_BYTES_MAX
from mandamus.store.tables.policy import decision

NOW_US = 1_767_225_600_000_000

BASE = """package mandamus.plan

deny contains "one" if input.x == 1
deny contains sprintf("two %v", [input.f]) if input.x == 2
require_approval contains {"group": "platform", "count": 1} if input.x == 3
warn contains "four" if input.x == 4
"""
SAME = BASE + "\n# nothing changed\n"


@pytest.fixture
def ids(real_clock, entropy) -> Ids:
    return Ids(real_clock, entropy)


@pytest.fixture
def versions(policy, sqlite_database, write, who):
    """Publish a text as the newest version of the set ``base``."""

    def published(text):
        with sqlite_database.begin("publish") as tx:
            return policy.publish(tx, who, policy.read(write({"plan.rego": text})), "base").digest

    return published


@pytest.fixture
def made(policy, sqlite_database, who):
    """Decide and record; gives the decision's id."""

    def decided(digest, level=Level.HARD, override=None, environment="prod", point=Point.PLAN, others=(), **document):
        at_us = document.pop("at_us", NOW_US)
        sets = [Attached(digest, "base", level, override or {}), *others]
        verdict = policy.decide(
            point, {"f": Decimal("1.10"), **document}, sets, protected=True, now_us=at_us, environment=environment
        )
        with sqlite_database.begin("record") as tx:
            return policy.record(tx, who, verdict, RunId("run_1"), "build")

    return decided


@pytest.fixture
def backtests(sqlite_database, blobs, audit, pool, real_clock, ids) -> Backtests:
    return Backtests(sqlite_database, blobs, audit, pool, real_clock, ids, 2)


@pytest.fixture
def tried(backtests, write, who):
    """The report of a candidate, and every change by decision."""

    def run(text, chosen=None, *, name="base", protected=True, listener=None):
        found = []
        report = backtests.run(
            who,
            name,
            write({"plan.rego": text}),
            chosen,
            protected=lambda _: protected,
            listener=listener or Listener(found.append),
        )
        return report, {change.decision: change for change in found}

    return run


def test_the_same_rules_change_nothing(versions, made, tried):
    """A candidate that differs by a comment flips nothing, and the past is said again byte by byte."""
    digest = versions(BASE)
    for x in range(5):
        made(digest, x=x)
    report, changes = tried(SAME)
    assert changes == {}
    assert (report.decisions, report.fidelity.checked, report.fidelity.different) == (5, 5, [])
    assert not report.fails(list(Kind))
    assert report.unexercised == []


def test_every_kind_of_change_is_told_apart(versions, made, tried):
    """Deny to allow, allow to deny, another approval, other words, and an error, each with the rules that said so."""
    digest = versions(BASE)
    by_x = {x: made(digest, x=x) for x in range(6)}
    report, changes = tried("""package mandamus.plan

deny contains sprintf("2 is %v", [input.f]) if input.x == 2
require_approval contains {"group": "platform", "count": 2} if input.x == 3
warn contains "four" if input.x == 4
deny contains {"msg": "zero", "remedy": "none"} if input.x == 0
deny contains "div" if 1 / (input.x - 5) > 0
deny contains "never" if input.x == 99
""")
    kinds = {x: changes[id_].kinds for x, id_ in by_x.items() if id_ in changes}
    assert kinds == {
        0: (Kind.ALLOW_TO_DENY,),
        1: (Kind.DENY_TO_ALLOW,),
        2: (Kind.MESSAGES,),
        3: (Kind.APPROVALS,),
        5: (Kind.ALLOW_TO_DENY, Kind.ERRORS),
    }
    assert report.counts == {
        Kind.DENY_TO_ALLOW: 1,
        Kind.ALLOW_TO_DENY: 2,
        Kind.APPROVALS: 1,
        Kind.ERRORS: 1,
        Kind.MESSAGES: 1,
    }
    one, zero, five = changes[by_x[1]], changes[by_x[0]], changes[by_x[5]]
    assert (one.old, one.new) == ("deny", "allow")
    assert list(one.old_rules) == [{"rule": "mandamus.plan.deny", "file": "plan.rego", "line": 3, "msg": "one"}]
    assert list(zero.new_rules) == [{"rule": "mandamus.plan.deny", "file": "plan.rego", "line": 6, "msg": "zero"}]
    assert five.error.startswith("eval_error: ")
    assert "plan.rego:7" in five.error
    assert [(each["file"], each["line"]) for each in report.unexercised] == [("plan.rego", 7), ("plan.rego", 8)]
    assert report.fidelity.kept


def test_only_what_was_asked_for_fails(versions, made, tried):
    """A flip fails the back-test exactly when its kind is named."""
    digest = versions(BASE)
    made(digest, x=1)
    report, _ = tried(BASE.replace("input.x == 1", "input.x == 7"))
    assert report.fails([Kind.DENY_TO_ALLOW])
    assert not report.fails([])
    assert not report.fails([Kind.ALLOW_TO_DENY, Kind.APPROVALS, Kind.ERRORS])


@pytest.mark.parametrize("count", [1, 249, 250, 251, 1203])
def test_no_decision_is_lost_between_batches(versions, made, tried, policy, sqlite_database, who, count, monkeypatch):
    """However many decisions there are, each is compared once, with its own answer."""
    monkeypatch.setattr(backtest_work, "_ROWS_MAX", 400)
    digest = versions(BASE)
    verdicts = {}
    with sqlite_database.begin("record") as tx:
        for number in range(count):
            x = number % 3
            if x not in verdicts or number < 300:
                verdicts[x] = policy.decide(
                    Point.PLAN, {"f": number, "x": x}, [Attached(digest, "base")], protected=True, now_us=NOW_US
                )
            policy.record(tx, who, verdicts[x], None, None)
    done = []
    report, changes = tried(
        BASE.replace("input.x == 1", "input.x == 0"), listener=Listener(progress=lambda n, of: done.append((n, of)))
    )
    flipped = sum(1 for number in range(count) if number % 3 == 1)
    assert report.decisions == count
    assert report.counts[Kind.DENY_TO_ALLOW] == flipped
    assert report.counts[Kind.ALLOW_TO_DENY] == (count + 2) // 3
    assert report.counts[Kind.MESSAGES] == 0
    assert done[-1] == (count, count)
    assert report.fidelity.different == []
    assert changes == {}


def test_one_input_that_errs_costs_only_itself(versions, made, tried):
    """A batch in which one input errs is taken apart: the error names its decision, all others have their answers."""
    digest = versions(BASE)
    ids = [made(digest, x=x % 4, n=str(x) if x != 57 else "z") for x in range(120)]
    report, changes = tried(BASE + '\ndeny contains "n" if to_number(input.n) < 0\n')
    assert report.counts[Kind.ERRORS] == 1
    assert set(changes) == {ids[57]}
    assert changes[ids[57]].new == "deny"


def test_drift_is_said_loudly(versions, made, tried, sqlite_database):
    """When the version that decided says something else today, the report names the decision and fails anyway."""
    digest = versions(BASE)
    id_ = made(digest, x=0)
    made(digest, x=1)
    with sqlite_database.begin("tamper") as tx:
        result = canonical.loads(tx.conn.scalar(sa.select(decision.c.result).where(decision.c.id == id_)))
        result["results"][0]["value"]["mandamus.plan.deny"] = [["set", ["what nobody said"]]]
        tx.conn.execute(decision.update().where(decision.c.id == id_).values(result=canonical.dumps(result)))
    report, _ = tried(SAME)
    assert report.fidelity.different == [id_]
    assert report.fails([])


def test_a_version_that_is_gone_is_no_proof(versions, made, tried, sqlite_database, blobs, monkeypatch):
    """Decisions of a version that cannot be read any more are counted, and alone they prove no fidelity."""
    digest = versions(BASE)
    made(digest, x=1)
    versions(SAME)
    get = type(blobs).get

    def gone(self, wanted):
        if wanted == digest:
            raise MandamusError(Code.NOT_FOUND, "gone", remedy="none")
        return get(self, wanted)

    monkeypatch.setattr(type(blobs), "get", gone)
    report, changes = tried(SAME)
    assert changes == {}
    assert (report.fidelity.checked, report.fidelity.unverifiable) == (0, 1)
    assert report.fails([])


def test_all_versions_of_a_name_are_the_past(versions, made, tried):
    """By its name a set answers for what every version of it decided; by a digest only for that version."""
    first = versions(BASE)
    old = made(first, x=1)
    second = versions(BASE.replace("input.x == 1", "input.x == 11"))
    new = made(second, x=11)
    candidate = BASE.replace("input.x == 1", "input.x == 12")
    report, changes = tried(candidate)
    assert set(changes) == {old, new}
    assert report.base.active == second
    assert report.fidelity.different == []
    assert set(tried(candidate, name=first)[1]) == {old}
    assert set(tried(candidate, name=second.removeprefix("sha256:")[:12])[1]) == {new}


def test_an_unknown_set_is_an_error(versions, tried):
    """A name nobody published, and the beginning of a digest that is too short, name no set."""
    digest = versions(BASE)
    for name in ("other", "sha256:", digest.removeprefix("sha256:")[:11]):
        with pytest.raises(MandamusError) as caught:
            tried(BASE, name=name)
        assert caught.value.code is Code.NOT_FOUND


def test_a_candidate_that_does_not_compile_is_refused(versions, tried):
    """What could not be published is not tried: every problem with file and line."""
    versions(BASE)
    with pytest.raises(MandamusError) as caught:
        tried("package mandamus.plan\n\ndeny contains x if true\n")
    assert caught.value.code is Code.POLICY_INVALID


def test_since_environment_and_point_choose(versions, made, tried):
    """Only decisions made since then, there, and at that point are replayed."""
    digest = versions(BASE)
    made(digest, x=1, at_us=NOW_US - 10)
    late = made(digest, x=1, at_us=NOW_US + 10)
    there = made(digest, x=1, environment="test")
    made(digest, x=1, point=Point.TRIGGER)
    candidate = BASE.replace("input.x == 1", "input.x == 7")
    assert set(tried(candidate, Chosen(since_us=NOW_US + 1))[1]) == {late}
    assert set(tried(candidate, Chosen(environment="test"))[1]) == {there}
    assert tried(candidate, Chosen(point="plan"))[0].decisions == 3
    assert tried(candidate, Chosen(point="trigger"))[0].decisions == 1


@pytest.mark.parametrize(
    ("level", "override", "new"),
    [
        (Level.HARD, {}, "deny"),
        (Level.SOFT, {"platform": 2}, "needs_approval"),
        (Level.ADVISORY, {}, "allow"),
        (Level.SHADOW, {}, "allow"),
    ],
)
def test_the_recorded_level_counts(versions, made, tried, publish, level, override, new):
    """A new violation weighs what the attachment of that time made of it."""
    other = Attached(publish({"o.rego": 'package mandamus.plan\n\nwarn contains "w" if input.never\n'}), "other")
    id_ = made(versions(BASE), level, override, others=[other], x=0)
    _, changes = tried(BASE.replace("input.x == 1", "input.x == 0"))
    assert changes[id_].new == new
    assert changes[id_].kinds == {"deny": (Kind.ALLOW_TO_DENY,), "needs_approval": (Kind.APPROVALS,)}.get(
        new, (Kind.MESSAGES,)
    )


def test_what_other_sets_said_stands(versions, made, tried, publish):
    """A decision that another set denies stays denied, whatever the candidate lets pass."""
    other = Attached(publish({"o.rego": 'package mandamus.plan\n\ndeny contains "o" if input.o\n'}), "other")
    digest = versions(BASE)
    both, own = made(digest, others=[other], x=1, o=True), made(digest, others=[other], x=1, o=False)
    _, changes = tried(BASE.replace("input.x == 1", "input.x == 7"))
    assert (changes[both].new, changes[both].kinds) == ("deny", (Kind.MESSAGES,))
    assert (changes[own].new, changes[own].kinds) == ("allow", (Kind.DENY_TO_ALLOW,))


def test_an_exemption_of_that_time_spares(versions, made, tried, sqlite_database):
    """A new violation that an exemption covered when the decision was made denies nothing; before and after it does."""
    digest = versions(BASE)
    with sqlite_database.begin("exempt") as tx:
        store.add_exemption(
            tx,
            Exemption(
                ExemptionId("exm_1"), "prod", "base", "mandamus.plan.deny", "a", "eve", "why", NOW_US, NOW_US + 10, None
            ),
        )
    during, after = made(digest, x=0, at_us=NOW_US + 1), made(digest, x=0, at_us=NOW_US + 10)
    elsewhere = made(digest, x=0, at_us=NOW_US + 1, environment="test")
    _, changes = tried(BASE + '\ndeny contains {"msg": "zero", "address": "a"} if input.x == 0\n')
    assert {id_: change.new for id_, change in changes.items()} == {during: "allow", after: "deny", elsewhere: "deny"}


def test_a_candidate_that_falls_silent_denies_where_it_is_protected(versions, made, tried):
    """Without a rule for plans a protected environment denies every plan; another one allows them."""
    digest = versions(BASE)
    allowed, denied = made(digest, x=0), made(digest, x=1)
    silent = 'package mandamus.trigger\n\ndeny contains "t" if input.never\n'
    report, changes = tried(silent)
    assert changes[allowed].kinds == (Kind.ALLOW_TO_DENY, Kind.ERRORS)
    assert changes[denied].new == "deny"
    assert "no_policy" in changes[allowed].error
    assert report.fidelity.kept
    assert tried(silent, protected=False)[1][denied].kinds == (Kind.DENY_TO_ALLOW,)


def test_a_candidate_that_speaks_up_lets_pass_where_silence_denied(versions, made, tried):
    """Denied only because no set had a rule for plans: with one that says nothing against it, it would pass."""
    digest = versions('package mandamus.trigger\n\ndeny contains "t" if input.never\n')
    quiet, bad = made(digest, x=0), made(digest, x=1)
    _, changes = tried(BASE)
    assert (changes[quiet].kinds, changes[quiet].new) == ((Kind.DENY_TO_ALLOW,), "allow")
    assert changes[quiet].old_error.startswith("no_policy: ")
    assert changes[bad].new == "deny"


def test_a_candidate_with_a_new_point_is_asked_there(versions, made, tried):
    """A point at which the set had nothing to say can flip, too."""
    digest = versions(BASE)
    id_ = made(digest, point=Point.TRIGGER, x=1)
    _, changes = tried(BASE + '\ndeny contains "late" if false\n', chosen=None)
    assert changes == {}
    _, changes = tried('package mandamus.trigger\n\ndeny contains "t" if input.x == 1\n')
    assert changes[id_].kinds == (Kind.ALLOW_TO_DENY,)


def test_large_inputs_and_exact_numbers_come_through(versions, made, tried):
    """Inputs from the blob store, big integers, fractions with their text and signs that Go escapes are not changed."""
    digest = versions("""package mandamus.plan

deny contains {"msg": "m", "f": input.f, "n": input.n, "s": input.s} if input.x == 1
""")
    values = {"n": 2**70, "s": "<é&\u2028\U0001f600>"}
    for pad in ("", "y" * INLINE_BYTES_MAX):
        made(digest, x=1, pad=pad, **values)
    report, changes = tried("""package mandamus.plan

deny contains {"msg": "m", "f": input.f, "n": input.n, "s": input.s} if input.x > 0
""")
    assert changes == {}
    assert (report.decisions, report.fidelity.checked, report.fidelity.different) == (2, 2, [])


def test_equal_questions_are_asked_once(versions, made, tried):
    """Decisions that look the same to the candidate are evaluated once, and all of them are counted."""
    digest = versions(BASE)
    for number in range(30):
        made(digest, x=number % 3, other=number, at_us=NOW_US + number)
    report, _ = tried(SAME)
    assert (report.decisions, report.evaluated) == (30, 3)


def test_a_candidate_that_reads_more_is_asked_more(versions, made, tried):
    """What the memo leaves out is only what no rule reads: a rule on the clock sees every decision apart."""
    digest = versions(BASE)
    ids = [made(digest, x=0, at_us=NOW_US + number * 1_000_000) for number in range(10)]
    _, changes = tried(BASE + '\ndeny contains "late" if input.now >= "2026-01-01T00:00:05"\n')
    assert set(changes) == set(ids[5:])


def test_a_decision_without_an_input_is_set_aside(versions, made, tried):
    """What no set could be asked about cannot be replayed: it is counted and nothing else."""
    digest = versions(BASE)
    made(digest, x=float("nan"))
    made(digest, x=1)
    report, _ = tried(SAME)
    assert (report.decisions, report.unjudged) == (1, 1)


def test_too_many_late_answers_end_it(versions, made, backtests, write, who, own_pool, monkeypatch):
    """A candidate that keeps decisions waiting is given up with an error, not waited for all day."""
    monkeypatch.setattr(replay, "LATE_MAX", 2)
    digest = versions(BASE)
    for number in range(3):
        made(digest, x=0, n=number)
    backtests._engines = own_pool(decide_s=0.3)
    pairs = "[1 | some i in numbers.range(0, 3000); some j in numbers.range(0, 3000); i + j == input.n - 9]"
    slow = f'{BASE}\ndeny contains "slow" if count({pairs}) > 0\n'
    with pytest.raises(MandamusError) as caught:
        backtests.run(who, "base", write({"plan.rego": slow}), protected=lambda _: True)
    assert caught.value.context["fault"] == "timeout"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("backtest")]


def test_an_interrupt_leaves_nothing_behind(versions, made, tried, pool):
    """Whoever is told of progress may interrupt: no thread stays, and the next back-test works."""
    digest = versions(BASE)
    made(digest, x=1)

    def interrupt(_done, _of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tried(SAME, listener=Listener(progress=interrupt))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("backtest")]
    assert tried(SAME)[0].decisions == 1


def test_a_lenient_set_is_replayed_leniently(policy, made, backtests, sqlite_database, write, who, pool, monkeypatch):
    """Where a builtin that errs is undefined, a batch says so at once, as the decision did."""
    options = Options(builtin_errors=BuiltinErrors.UNDEFINED)
    text = BASE + '\ndeny contains "big" if to_number(input.n) > 5\n'
    with sqlite_database.begin("publish") as tx:
        digest = policy.publish(tx, who, policy.read(write({"plan.rego": text}), options), "base").digest
    ids = {n: made(digest, x=0, n=n) for n in ("z", "4", "7")}
    monkeypatch.setattr(pool, "evaluate", None)
    found = []
    candidate = write({"plan.rego": text.replace("> 5", "> 3")})
    report = backtests.run(who, "base", candidate, protected=lambda _: True, listener=Listener(found.append))
    assert {change.decision: change.kinds for change in found} == {ids["4"]: (Kind.ALLOW_TO_DENY,)}
    assert (report.fidelity.checked, report.fidelity.different) == (3, [])


def test_trouble_of_that_time_is_told(versions, made, tried):
    """A deny by a fault that the candidate would not have is shown as what it was."""
    digest = versions('package mandamus.plan\n\ndeny contains "x" if to_number(input.n) > 5\n')
    id_ = made(digest, n="z")
    report, changes = tried('package mandamus.plan\n\ndeny contains "x" if input.n == "y"\n')
    assert changes[id_].kinds == (Kind.DENY_TO_ALLOW,)
    assert changes[id_].old_error.startswith("eval_error: ")
    assert report.fidelity.kept


def test_it_is_the_same_on_each_database(
    database, blobs, home, clock, entropy, pool, real_clock, ids, who, write, monkeypatch
):
    """Pages, choices and the end of the past are the database's; what comes out is not."""
    monkeypatch.setattr(backtest_rows, "PAGE", 2)
    audit = Audit(database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
    policy = Policy(database, blobs, audit, pool, real_clock, ids)
    with database.begin("publish") as tx:
        digest = policy.publish(tx, who, policy.read(write({"plan.rego": BASE})), "base").digest
    for x in range(6):
        verdict = policy.decide(
            Point.PLAN, {"f": 1, "x": x}, [Attached(digest, "base")], protected=True, now_us=NOW_US + x
        )
        with database.begin("record") as tx:
            policy.record(tx, who, verdict, None, None)
    backtests = Backtests(database, blobs, audit, pool, real_clock, ids, 2)
    candidate = write({"plan.rego": BASE.replace("input.x == 1", "input.x == 0")})
    report = backtests.run(who, "base", candidate, Chosen(since_us=NOW_US + 1), protected=lambda _: True)
    assert (report.decisions, report.counts[Kind.DENY_TO_ALLOW], report.counts[Kind.ALLOW_TO_DENY]) == (5, 1, 0)
    with database.read() as conn:
        assert store.newest_report(conn, digest, report.candidate) == canonical.dumps(report.to_json())


def test_the_report_is_kept_for_its_pair(versions, made, tried, sqlite_database, write, policy, who):
    """The stored report names base and candidate by the digests they have when they are published."""
    digest = versions(BASE)
    made(digest, x=1)
    report, _ = tried(SAME)
    assert report.base.active == digest
    assert versions(SAME) == report.candidate
    with sqlite_database.read() as conn:
        kept = store.newest_report(conn, digest, report.candidate)
        assert store.newest_report(conn, report.candidate, digest) is None
    assert canonical.loads(kept) == canonical.loads(canonical.dumps(report.to_json()))


def test_it_needs_the_permission(backtests, write):
    """A nobody may not ask what policy would have said."""
    with pytest.raises(MandamusError) as caught:
        backtests.run(Subject("eve", "os-user"), "base", write({}), protected=lambda _: True)
    assert caught.value.code is Code.FORBIDDEN
