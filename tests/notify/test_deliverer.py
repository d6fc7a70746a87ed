"""Delivery: each event to whoever asked for it, at least once, in spite of receivers that are dead, broken or gone."""

from __future__ import annotations

import dataclasses
import threading
from email.utils import formatdate

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Outcome, Resource
from mandamus.bootstrap.tools import SystemClock
from mandamus.engine.lock import HomeLock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.notify import deliverer
from mandamus.notify.deliverer import CONTENDED_S, JITTER, PAUSES_S
from mandamus.notify.model import State
from mandamus.operations.feeder import Feeder

WAIT_S = 60.0
ENVIRONMENT = Kind.ENVIRONMENT_APPLIED

both = pytest.mark.parametrize("ground", ["sqlite", "postgres"], indirect=True)
"""On either database: what the statements of the store do."""


@pytest.fixture
def hook(ground, receiver, document):
    """A subscription to what happens to runs."""
    ground.apply(hook=document(receiver))
    return ground


def test_an_event_is_told_of_once_and_signed(hook, who, receiver, verified):
    """The message is a CloudEvent with ids, names and a link; who has the secret can tell that it is ours."""
    asker = dataclasses.replace(who, ticket="CHG-1")
    event = hook.happen(why="words of a person", project="ledger", who=asker)
    assert hook.feed() is None
    (got,) = receiver.got
    made = got.event
    assert verified(got, hook.environ["SECRET"])
    assert not verified(got, hook.environ["OLD"])
    assert got.path == "/hook?a=b"
    assert got.headers["Content-Type"] == "application/cloudevents+json"
    assert got.headers["webhook-id"] == made["id"] == event
    assert abs(int(got.headers["webhook-timestamp"]) - hook.clock.now_us() // 1_000_000) < 10
    assert (made["specversion"], made["type"], made["subject"]) == ("1.0", "mandamus.run.cancelled", "run/run_1")
    assert made["source"] == "log.example.com/home"
    told = made["data"]
    assert (told["run"], told["project"], told["ticket"]) == ("run_1", "ledger", "CHG-1")
    assert told["link"] == "https://console.example.com/runs/run_1"
    assert b"words of a person" not in got.body
    assert hook.environ["SECRET"].encode() not in got.body
    assert [each.state for each in hook.told()] == [State.DELIVERED]


def test_a_secret_that_is_replaced_signs_beside_the_old_one(ground, receiver, document, verified):
    """While two secrets are declared, a receiver that knows either of them can verify."""
    made = document(receiver)
    made["webhook"]["old_secret"] = {"env": "OLD"}
    ground.apply(hook=made)
    ground.happen()
    ground.feed()
    (got,) = receiver.got
    assert len(got.headers["webhook-signature"].split()) == 2
    assert verified(got, ground.environ["SECRET"])
    assert verified(got, ground.environ["OLD"])


def test_what_happened_before_is_not_told(ground, receiver, document):
    """A subscription begins with what happens behind it; one that changes goes on where it was."""
    ground.happen()
    ground.apply(hook=document(receiver))
    first = ground.happen()
    ground.apply(hook=document(receiver, outcomes=["ok"]))
    second = ground.happen()
    ground.feed()
    assert [got.headers["webhook-id"] for got in receiver.got] == [first, second]


@both
def test_a_subscription_takes_what_it_asks_for(ground, receiver, document):
    """Kind or family, project, environment, outcome and asked group each narrow what is told."""
    ask = {"kind": Kind.STEP_WAITING, "step": "one", "data": {"requires": [{"group": "dba", "count": 2}]}}
    ground.apply(
        family=document(receiver, kinds=["run.*"]),
        exact=document(receiver, kinds=["run.closed"]),
        project=document(receiver, projects=["ledger"]),
        place=document(receiver, environments=["prod"]),
        denied=document(receiver, outcomes=["denied"]),
        dba=document(receiver, kinds=["step.waiting"], groups=["dba"]),
        ops=document(receiver, kinds=["step.waiting"], groups=["ops"]),
        rest=document(receiver, active=False),
    )
    data = {"environment": "prod", "workflow": "w.yaml"}
    ground.happen(Kind.RUN_REQUESTED, data=data, project="ledger")
    ground.happen(Kind.RUN_CLOSED, outcome=Outcome.DENIED)
    ground.happen(**ask)
    ground.happen(ENVIRONMENT, resource=Resource("environment", "prod"), run=None)
    ground.happen(Kind.RUN_CANCELLED, run="run_2")
    for name in ground.deliverer.names():
        ground.feed(name)
    told = {name: [each.kind for each in ground.told(name)] for name in ground.deliverer.names()}
    assert told == {
        "family": ["run.requested", "run.closed", "run.cancelled"],
        "exact": ["run.closed"],
        "project": ["run.requested", "run.closed"],
        "place": ["run.requested", "run.closed"],
        "denied": ["run.closed"],
        "dba": ["step.waiting"],
        "ops": [],
    }
    assert ground.deliverer.feed("rest") is None


def test_policy_says_who_is_told(ground, receiver, document):
    """A decision that names a subscription is told there, whatever that asks for, with what policy says."""
    ground.apply(
        named=document(receiver, kinds=[], environments=["nowhere"]), other=document(receiver, kinds=["log.*"])
    )
    decided = {"kind": Kind.DECISION_RECORDED, "resource": Resource("decision", "dec_1"), "step": "one"}
    data = {"decision": "dec_1", "point": "plan", "outcome": "needs_approval"}
    told = ground.happen(**decided, data={**data, "notify": ["named", "nobody"]})
    ground.happen(**decided, data=data)
    ground.feed("named")
    ground.feed("other")
    (got,) = receiver.got
    assert got.headers["webhook-id"] == told
    said = "Policy on what ada asks for of step one: needs approval. It says: because"
    assert got.event["data"]["text"].startswith(said)


def test_a_dead_receiver_is_tried_less_and_less_often(hook, receiver, answer):
    """Seven attempts with the same id, each pause as declared but for the jitter; then a dead letter and an event."""
    receiver.answers = [answer(503, body=b"busy\x1b[2J")] * 7
    event = hook.happen()
    for count, pause_s in enumerate(PAUSES_S, start=1):
        due_s = hook.feed()
        assert len(receiver.got) == count
        assert pause_s * (1 - JITTER) - 1 <= due_s <= pause_s * (1 + JITTER)
        (waits,) = hook.told()
        assert (waits.state, waits.attempts) == (State.WAITING, count)
        assert waits.error == "status-503: it answers 503 busy\\u001b[2J"
        hook.clock.advance(due_s - 0.5)
        hook.feed()
        assert len(receiver.got) == count, "it was tried before its time"
        hook.clock.advance(1)
    assert hook.feed() is None
    assert {got.headers["webhook-id"] for got in receiver.got} == {event}
    (dead,) = hook.told()
    assert (dead.state, dead.attempts) == (State.DEAD, 7)
    (told,) = hook.events(Kind.NOTIFY_DEAD)
    assert told["data"] == {
        "subscription": "hook",
        "delivery": dead.id,
        "event": event,
        "attempts": 7,
        "error": "status-503",
    }
    assert "busy" not in str(told)


@both
def test_a_dead_letter_is_sent_again_when_somebody_says_so(hook, who, receiver, answer, monkeypatch):
    """With the id that it always had; who names one that is not dead is told, and nothing is sent again."""
    monkeypatch.setattr(deliverer, "PAUSES_S", ())
    receiver.answers = [answer(500)] * 2
    first, second = hook.happen(), hook.happen()
    hook.feed()
    dead = hook.notify.dead(who)
    assert [each.event for each in dead] == [second, first]
    with pytest.raises(MandamusError) as refused:
        hook.notify.replay(who, [dead[0].id, 999])
    assert refused.value.code is Code.NOT_FOUND
    assert len(hook.notify.dead(who)) == 2
    assert hook.notify.replay(who, [dead[1].id]) == 1
    hook.feed()
    assert receiver.got[-1].headers["webhook-id"] == first
    assert [each.state for each in hook.told()] == [State.DELIVERED, State.DEAD]
    assert hook.notify.replay(who) == 1
    hook.feed()
    assert hook.notify.dead(who) == []
    assert [told["data"]["deliveries"] for told in hook.events(Kind.NOTIFY_REPLAYED)] == [1, 1]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_receiver_that_asks_for_a_pause_gets_it(hook, receiver, answer, form):
    """Retry-After counts when it is longer than our own pause, in both forms it has."""
    after = "900" if form == "seconds" else formatdate(hook.clock.now_us() / 1e6 + 900, usegmt=True)
    receiver.answers = [answer(429, ("Retry-After", after))]
    hook.happen()
    assert 890 <= hook.feed() <= 901


@both
def test_a_receiver_that_is_gone_is_sent_nothing_more(hook, receiver, answer, document):
    """410 ends a subscription; applied again, it goes on with what happens from then on, and can have the rest."""
    receiver.answers = [answer(410)]
    hook.happen()
    assert hook.feed() is None
    assert hook.deliverer.names() == []
    assert [each["data"] for each in hook.events(Kind.NOTIFY_DISABLED)] == [{"subscription": "hook"}]
    hook.happen()
    assert hook.feed() is None
    assert len(receiver.got) == 1
    hook.apply(hook=document(receiver))
    event = hook.happen()
    hook.feed()
    assert [got.headers["webhook-id"] for got in receiver.got[1:]] == [event]


def test_news_goes_before_what_was_tried(hook, receiver, answer):
    """A message that failed keeps no later one waiting: order is not promised."""
    receiver.answers = [answer(500)]
    failed = hook.happen()
    hook.feed()
    hook.clock.advance(10)
    news = hook.happen()
    hook.feed()
    assert [got.headers["webhook-id"] for got in receiver.got] == [failed, news, failed]


@both
def test_a_backlog_stays_in_the_log(hook, receiver, answer, monkeypatch):
    """A subscription with too much that waits takes no more rows; nothing is lost, and it goes on by itself."""
    monkeypatch.setattr(deliverer, "BACKLOG_MAX", 3)
    monkeypatch.setattr(deliverer, "PAGE", 3)
    receiver.answers = [answer(500)] * 9
    events = {hook.happen() for _ in range(9)}
    hook.feed()
    assert 3 <= len(hook.told()) < 3 + 3
    receiver.answers = []
    hook.clock.advance(10)
    hook.feed()
    assert {got.headers["webhook-id"] for got in receiver.got} == events
    assert {each.state for each in hook.told()} == {State.DELIVERED}


def test_dead_letters_do_not_breed(ground, receiver, answer, document, monkeypatch):
    """Subscriptions that are all dead and told of dead letters do not tell each other of them for ever."""
    monkeypatch.setattr(deliverer, "PAUSES_S", ())
    receiver.answers = [answer(500)] * 100
    names = ("one", "two", "three")
    ground.apply(**{name: document(receiver, kinds=["run.*", "notify.*"]) for name in names})
    ground.happen()
    for _ in range(5):
        ground.audit.flush()
        for name in names:
            ground.feed(name)
    assert len(ground.events(Kind.NOTIFY_DEAD)) == 3
    before = len(receiver.got)
    for name in names:
        ground.feed(name)
    assert len(receiver.got) == before


def test_only_one_process_works_for_a_subscription(hook, home, receiver):
    """Who finds another one at work leaves it to that, and looks again a little later."""
    hook.happen()
    other = HomeLock(home / "notify" / "hook.lock")
    (home / "notify").mkdir()
    assert other.acquire()
    assert hook.deliverer.feed("hook") == CONTENDED_S
    assert receiver.got == []
    other.release()
    hook.feed()
    assert len(receiver.got) == 1


@both
def test_what_was_taken_twice_is_told_once(hook, receiver):
    """Two that took the same part of the log at once make one message of each event of it."""
    hook.happen()
    with hook.database.read() as conn:
        row = deliverer.store.get(conn, "hook")
    hook.deliverer._take(row)
    hook.deliverer._take(row)
    hook.feed()
    assert len(receiver.got) == len(hook.told()) == 1


def test_a_dead_receiver_keeps_nobody_waiting(ground, receiver, answer, document):
    """Each subscription has a thread of its own, woken by news; no one polls and none waits for another's receiver."""
    stuck, go_on = threading.Event(), threading.Event()

    def never(_handler):
        stuck.set()
        go_on.wait(WAIT_S)

    receiver.answers = [never]
    feeder = Feeder(ground.deliverer.names, ground.deliverer.feed, "notify")
    ground.audit.followed_by(feeder)
    ground.apply(first=document(receiver))
    feeder.start()
    try:
        ground.happen()
        assert stuck.wait(WAIT_S)
        ground.apply(second=document(receiver))
        ground.happen()
        receiver.wait(2)
        assert not go_on.is_set()
    finally:
        go_on.set()
        feeder.stop()


def test_a_retry_comes_without_news(ground, receiver, answer, document, monkeypatch):
    """The thread of a subscription wakes by itself when a message is due."""
    monkeypatch.setattr(deliverer, "PAUSES_S", (0.01,))
    monkeypatch.setattr(ground.deliverer, "_clock", SystemClock())
    receiver.answers = [answer(500)]
    feeder = Feeder(ground.deliverer.names, ground.deliverer.feed, "notify")
    ground.audit.followed_by(feeder)
    ground.apply(hook=document(receiver))
    feeder.start()
    try:
        ground.happen()
        receiver.wait(2)
    finally:
        feeder.stop()
