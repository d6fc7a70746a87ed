"""Remembers for a day what was asked under which key, so that a request that is sent twice is done once."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.store.database import Database
from mandamus.store.tables.operations import operation_request as row

KEPT_US = 24 * 3_600 * 1_000_000
UNDER_WAY_US = 60 * 1_000_000


class Requests:
    """The keys of one home, by who sent them."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def begin(self, user: str, key: str, asked: Digest) -> bytes | None:
        """Take the key for a request; gives the answer when there is one already.

        Raises ``conflict`` for a key of another request, and for one whose request did not come to its end.
        """
        now_us = self._clock.now_us()
        with self._db.begin("request") as tx:
            tx.conn.execute(row.delete().where(row.c.at_us < now_us - KEPT_US))
            found = tx.conn.execute(sa.select(row).where(*_is(user, key))).one_or_none()
            if found is None:
                tx.conn.execute(row.insert().values(subject=user, key=key, asked=asked, at_us=now_us))
                return None
        if found.asked != asked:
            raise MandamusError(
                Code.CONFLICT, "the Idempotency-Key was sent with another request", remedy="make a new key"
            )
        answer: bytes | None = found.answer
        if answer is not None:
            return answer
        under_way = now_us - found.at_us < UNDER_WAY_US
        raise MandamusError(
            Code.CONFLICT,
            "the first request with this key is under way" if under_way else "nobody knows how that request ended",
            remedy="try again in a moment" if under_way else "look whether it was done; if not, make a new key",
            retryable=under_way,
        )

    def finish(self, user: str, key: str, answer: bytes) -> None:
        """Keep the answer."""
        with self._db.begin("request answered") as tx:
            tx.conn.execute(row.update().where(*_is(user, key)).values(answer=answer))

    def forget(self, user: str, key: str) -> None:
        """Nothing came of it."""
        with self._db.begin("request failed") as tx:
            tx.conn.execute(row.delete().where(*_is(user, key)))


def _is(user: str, key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (row.c.subject == user, row.c.key == key)
