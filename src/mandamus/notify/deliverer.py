"""Follows the log for each subscription and sends what it is to be told: at least once, and nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mandamus.audit import placed
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.placed import Place
from mandamus.audit.service import Audit
from mandamus.engine.lock import HomeLock
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Entropy
from mandamus.notify import store
from mandamus.notify.message import Messages
from mandamus.notify.model import RESOURCE, Answer, Delivery, Leaf, Message, State, Subscription
from mandamus.store.database import Database, Tx

PAUSES_S = (5, 30, 120, 600, 3_600, 18_000)
"""Before each further attempt; after the last one a message is dead, six and a half hours after the first."""
JITTER = 0.2
"""Of a pause, so that what failed together is not tried together."""
BACKLOG_MAX = 10_000
"""With so many messages waiting or dead a subscription takes no more from the log, which keeps them for it."""
PAGE = 500
KEPT_AHEAD = 1_000
"""Leaves that a subscription was not told of, until the place it has come to is written down all the same."""
CONTENDED_S = 1.0
SYSTEM = Subject(user="system:notify", authn="internal")

Send = Callable[[Subscription, Message], Answer]


@dataclass
class _Ahead:
    """A place in the log beyond the one that is written down: no leaf between them is told of."""

    written: Place
    place: Place


class Deliverer:
    """Works for the subscriptions of one home; ``locks`` is a folder: one process at a time works for each.

    Nothing waits in memory: what is told of is found in the log from the place that a subscription has come to, and
    messages on their way are rows. Whoever dies at any moment leaves a message that is sent, perhaps for a second time.
    """

    def __init__(
        self,
        db: Database,
        audit: Audit,
        clock: Clock,
        entropy: Entropy,
        messages: Messages,
        send: Send,
        locks: Path,
    ) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._entropy = entropy
        self._messages = messages
        self._send = send
        self._locks = locks
        self._ahead: dict[str, _Ahead] = {}
        self._guard = threading.Lock()

    def names(self) -> list[str]:
        """The subscriptions that are sent to."""
        with self._db.read() as conn:
            return [row.subscription.name for row in store.rows(conn) if row.live]

    def feed(self, name: str) -> float | None:
        """Take some of the log for a subscription, and send one message that is due.

        Gives the seconds until there is more to do, as far as that is known; None when only news would bring more.
        """
        with self._locked(name) as mine:
            if not mine:
                return CONTENDED_S
            with self._db.read() as conn:
                row = store.get(conn, name)
            if row is None or not row.live:
                return None
            took = self._take(row)
            sent = self._send_one(row.subscription)
            if took or sent:
                return 0.0
            with self._db.read() as conn:
                due_us = store.due_us(conn, name)
            return None if due_us is None else max(0.0, (due_us - self._clock.now_us()) / 1e6)

    def _take(self, row: store.Row) -> bool:
        """Make messages of the next leaves; False when there are none, or no room for them."""
        name, subscription = row.subscription.name, row.subscription
        with self._guard:
            ahead = self._ahead.get(name)
        place = ahead.place if ahead is not None and ahead.written == row.place else row.place
        with self._db.read() as conn:
            if store.count_open(conn, name) >= BACKLOG_MAX:
                return False
            found = placed.after(conn, place, PAGE)
        if not found:
            return False
        told = [each for each in found if subscription.takes(each.leaf, each.environment)]
        last = found[-1].place
        if told or last.next - row.place.next >= KEPT_AHEAD or last.origin != row.place.origin:
            rows = [(self._messages.of(each), _columns(each.leaf)) for each in told]
            with self._db.begin("notify.taken") as tx:
                if store.move(tx.conn, name, row.place, last):
                    store.add(tx.conn, name, rows, self._clock.now_us())
                    store.forget(tx.conn)
            return True
        with self._guard:
            self._ahead[name] = _Ahead(row.place, last)
        return True

    def _send_one(self, subscription: Subscription) -> bool:
        """Send the message that is due first, and write down how that ended; False when none is due."""
        with self._db.read() as conn:
            found = store.next_due(conn, subscription.name, self._clock.now_us())
        if found is None:
            return False
        delivery, message = found
        answer = self._send(subscription, message)
        with self._db.begin("notify.sent") as tx:
            self._settle(tx, delivery, answer)
        return True

    def _settle(self, tx: Tx, delivery: Delivery, answer: Answer) -> None:
        now_us = self._clock.now_us()
        is_last = delivery.attempts >= len(PAUSES_S) or answer.gone or answer.hopeless
        if answer.ok:
            store.settle(tx.conn, delivery, State.DELIVERED, now_us, now_us, "")
            return
        error = f"{answer.error}: {answer.detail}" if answer.detail else answer.error
        if not is_last:
            due_us = now_us + int(max(self._pause_s(delivery.attempts), answer.retry_s) * 1e6)
            store.settle(tx.conn, delivery, State.WAITING, due_us, now_us, error)
            return
        if store.settle(tx.conn, delivery, State.DEAD, now_us, now_us, error):
            self._record_dead(tx, delivery, answer)
            if answer.gone:
                self._disable(tx, delivery.subscription, now_us)

    def _pause_s(self, attempts: int) -> float:
        share = int.from_bytes(self._entropy(2), "big") / 0xFFFF
        return PAUSES_S[attempts] * (1 + JITTER * (2 * share - 1))

    def _record_dead(self, tx: Tx, delivery: Delivery, answer: Answer) -> None:
        # Not of one that told of a dead letter: subscriptions that are all dead would tell each other for ever.
        if delivery.kind.startswith("notify."):
            return
        data = {
            "subscription": delivery.subscription,
            "delivery": delivery.id,
            "event": delivery.event,
            "attempts": delivery.attempts + 1,
            "error": answer.error,
        }
        resource = Resource(RESOURCE, delivery.subscription)
        self._audit.record(tx, Event(Kind.NOTIFY_DEAD, SYSTEM, resource, Outcome.FAILED, data=data))

    def _disable(self, tx: Tx, name: str, now_us: int) -> None:
        store.disable(tx.conn, name, now_us)
        event = Event(Kind.NOTIFY_DISABLED, SYSTEM, Resource(RESOURCE, name), data={"subscription": name})
        self._audit.record(tx, event)

    @contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        self._locks.mkdir(mode=0o700, exist_ok=True)
        lock = HomeLock(self._locks / f"{name}.lock")
        try:
            yield lock.acquire()
        finally:
            lock.release()


def _columns(leaf: Leaf) -> dict[str, str | None]:
    return {"kind": leaf["kind"], "run": leaf["run"], "project": leaf["project"]}
