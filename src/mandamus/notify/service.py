"""The verbs of notifications: who is told of what, what became of it, and sending dead letters again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mandamus.audit import placed
from mandamus.audit.difference import differences
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Ids
from mandamus.kernel.reader import did_you_mean
from mandamus.notify import store
from mandamus.notify.deliverer import Deliverer, Send
from mandamus.notify.message import Messages
from mandamus.notify.model import RESOURCE, Answer, Delivery, Standing, State, subscription_from
from mandamus.store.database import Database, Tx

PAGE = 50
PAGE_MAX = 1_000
SENT_MAX = 10_000
"""Steps of one call of `send`: each takes some of the log or sends one message."""


class Notify:
    """The subscriptions of one home. ``wake`` tells whoever delivers, when that is this process."""

    def __init__(
        self,
        db: Database,
        audit: Audit,
        clock: Clock,
        ids: Ids,
        messages: Messages,
        send: Send,
        deliverer: Deliverer,
        wake: Callable[[], None],
    ) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._ids = ids
        self._messages = messages
        self._send = send
        self._deliverer = deliverer
        self._wake = wake

    @requires(Permission.NOTIFY_READ)
    def subscriptions(self, who: Subject) -> list[Standing]:
        """Every subscription and how it stands, by name."""
        with self._db.read() as conn:
            return store.standings(conn)

    @requires(Permission.NOTIFY_READ)
    def deliveries(
        self,
        who: Subject,
        name: str | None = None,
        state: State | None = None,
        *,
        before: int | None = None,
        limit: int = PAGE,
    ) -> list[Delivery]:
        """What was told, or is to be, newest first; those before one of them are the next page."""
        with self._db.read() as conn:
            return store.page(conn, name, state, before, min(limit, PAGE_MAX))

    @requires(Permission.NOTIFY_READ)
    def dead(
        self,
        who: Subject,
        name: str | None = None,
        *,
        before: int | None = None,
        limit: int = PAGE,
    ) -> list[Delivery]:
        """The dead letters, newest first: what nobody tries to send any more."""
        with self._db.read() as conn:
            return store.page(conn, name, State.DEAD, before, min(limit, PAGE_MAX))

    @requires(Permission.NOTIFY_WRITE)
    def replay(self, who: Subject, ids: Sequence[int] | None = None) -> int:
        """Have dead letters sent again, all of them when none is named; gives how many.

        Raises ``not_found`` when one that is named is none, and then nothing is sent again.
        """
        with self._db.begin("notify.replayed") as tx:
            names = store.revive(tx.conn, ids, self._clock.now_us())
            if ids is not None and len(names) != len(set(ids)):
                raise MandamusError(
                    Code.NOT_FOUND,
                    f"{len(set(ids)) - len(names)} of these are no dead letters: {', '.join(map(str, ids))[:200]}",
                    remedy="`mandamus notify dead` lists them",
                )
            for name, count in sorted(Counter(names).items()):
                data = {"subscription": name, "deliveries": count}
                self._audit.record(tx, Event(Kind.NOTIFY_REPLAYED, who, Resource(RESOURCE, name), data=data))
        self._wake()
        return len(names)

    @requires(Permission.NOTIFY_WRITE)
    def test(self, who: Subject, name: str) -> Answer:
        """Send a message of no meaning to a subscription, now and once; gives how that ended.

        Raises ``not_found`` for a subscription that there is not.
        """
        with self._db.read() as conn:
            row = store.get(conn, name)
            known = [] if row else [each.subscription.name for each in store.rows(conn)]
        if row is None:
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no subscription {name[:60]!r}",
                remedy=did_you_mean(name, known, "declare it under `notify` and run `mandamus env apply FILE`"),
            )
        answer = self._send(row.subscription, self._messages.test(name, self._ids.new("evt"), who.user))
        outcome = Outcome.OK if answer.ok else Outcome.FAILED
        data = {"subscription": name, "error": answer.error}
        with self._db.begin("notify.tested") as tx:
            self._audit.record(tx, Event(Kind.NOTIFY_TESTED, who, Resource(RESOURCE, name), outcome, data=data))
        return answer

    @requires(Permission.NOTIFY_WRITE)
    def send(self, who: Subject) -> None:
        """Send what is due now, in this thread; what another process works on is left to it.

        For a home that no server works for: there messages wait until the next command that runs something.
        """
        self._audit.flush()
        for name in self._deliverer.names():
            for _ in range(SENT_MAX):
                if self._deliverer.feed(name) != 0.0:
                    break

    def apply(self, tx: Tx, who: Subject, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Declare subscriptions, as the platform file's reader has them; others stay as they are.

        One that is new, was not active or was disabled begins with what happens from now on. Raises ``forbidden``
        without ``notify:write``.
        """
        authorize(who, Permission.NOTIFY_WRITE)
        for name, document in documents.items():
            made = subscription_from(name, document)
            before = store.get(tx.conn, name)
            if before is not None and before.subscription.digest == made.digest and before.disabled_us is None:
                continue
            goes_on = before is not None and before.live
            place = before.place if before is not None and goes_on else placed.end(tx.conn)
            store.put(tx.conn, made, who.user, self._clock.now_us(), place)
            old = before.subscription if before is not None else None
            data = {
                "subscription": name,
                "digest": made.digest,
                "previous": old.digest if old is not None else None,
                "changes": differences(old.document if old is not None else None, document, digested=("webhook",)),
            }
            self._audit.record(tx, Event(Kind.NOTIFY_APPLIED, who, Resource(RESOURCE, name), data=data))
