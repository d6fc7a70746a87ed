"""Rows of subscriptions and of messages on their way to values and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.audit.placed import Place
from mandamus.kernel import canonical
from mandamus.notify.model import Delivery, Message, Standing, State, Subscription, message_from, subscription_from
from mandamus.store.tables.notify import notify_delivery, notify_subscription

DELIVERED_MAX = 5_000
"""Messages that were delivered are kept for people to look at, as many as this in a home."""

_delivery = notify_delivery.c
_subscription = notify_subscription.c
_SHOWN = sa.select(*[column for column in _delivery if column.name != "message"])
_OPEN = (State.WAITING.value, State.DEAD.value)


@dataclass(frozen=True)
class Row:
    """A subscription with the place it has come to, and when it was disabled if it is."""

    subscription: Subscription
    place: Place
    disabled_us: int | None

    @property
    def live(self) -> bool:
        """Whether anything is sent to it."""
        return self.subscription.active and self.disabled_us is None


def get(conn: sa.Connection, name: str) -> Row | None:
    """A subscription, or None."""
    row = conn.execute(sa.select(notify_subscription).where(_subscription.name == name)).one_or_none()
    return None if row is None else _row(row)


def rows(conn: sa.Connection) -> list[Row]:
    """Every subscription, by name."""
    return [_row(row) for row in conn.execute(sa.select(notify_subscription).order_by(_subscription.name))]


def put(conn: sa.Connection, made: Subscription, by: str, at_us: int, place: Place) -> None:
    """Write a subscription that goes on from a place, in the place of one with its name."""
    conn.execute(sa.delete(notify_subscription).where(_subscription.name == made.name))
    conn.execute(
        sa.insert(notify_subscription).values(
            name=made.name,
            document=canonical.dumps(made.document),
            applied_by=by,
            applied_us=at_us,
            **_columns(place),
        )
    )


def move(conn: sa.Connection, name: str, before: Place, place: Place) -> bool:
    """Move a subscription from one place to another; False when it is not at the first any more."""
    here = (
        _subscription.name == name,
        _subscription.origin == before.origin,
        _subscription.next_index == before.next,
    )
    return bool(conn.execute(sa.update(notify_subscription).where(*here).values(_columns(place))).rowcount)


def disable(conn: sa.Connection, name: str, at_us: int) -> None:
    """Send nothing to a subscription any more."""
    conn.execute(sa.update(notify_subscription).where(_subscription.name == name).values(disabled_us=at_us))


def standings(conn: sa.Connection) -> list[Standing]:
    """Every subscription with what became of its messages, by name."""
    counted = sa.select(_delivery.subscription, _delivery.state, sa.func.count()).group_by(
        _delivery.subscription, _delivery.state
    )
    counts = {(name, state): count for name, state, count in conn.execute(counted)}
    made = []
    for row in conn.execute(sa.select(notify_subscription).order_by(_subscription.name)):
        newest = (
            sa.select(_delivery.ended_us, _delivery.error)
            .where(_delivery.subscription == row.name, _delivery.ended_us.is_not(None))
            .order_by(_delivery.ended_us.desc())
            .limit(1)
        )
        ended_us, error = conn.execute(newest).one_or_none() or (None, "")
        waiting, dead = (counts.get((row.name, state), 0) for state in _OPEN)
        told = _row(row).subscription
        made.append(
            Standing(
                name=told.name,
                target=told.target,
                active=told.active,
                kinds=tuple(sorted(told.kinds)),
                projects=tuple(sorted(told.projects)),
                environments=tuple(sorted(told.environments)),
                outcomes=tuple(sorted(told.outcomes)),
                groups=tuple(sorted(told.groups)),
                applied_by=row.applied_by,
                waiting=waiting,
                dead=dead,
                ended_us=ended_us,
                error=error,
                disabled_us=row.disabled_us,
            )
        )
    return made


def add(conn: sa.Connection, name: str, told: Iterable[tuple[Message, dict[str, Any]]], now_us: int) -> None:
    """Have messages wait to be sent, each once; beside each stand the columns ``kind``, ``run`` and ``project``."""
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    values = [
        {
            **columns,
            "subscription": name,
            "event": message.event,
            "message": canonical.dumps(message.to_json()),
            "state": State.WAITING.value,
            "attempts": 0,
            "due_us": now_us,
            "made_us": now_us,
            "error": "",
        }
        for message, columns in told
    ]
    if values:
        conn.execute(insert(notify_delivery).on_conflict_do_nothing(), values)


def next_due(conn: sa.Connection, name: str, now_us: int) -> tuple[Delivery, Message] | None:
    """The message to be sent first: new ones go before those that were tried."""
    query = (
        sa.select(notify_delivery)
        .where(_delivery.subscription == name, _delivery.state == State.WAITING.value, _delivery.due_us <= now_us)
        .order_by(_delivery.attempts, _delivery.id)
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else (_delivery_of(row), message_from(canonical.loads(row.message)))


def due_us(conn: sa.Connection, name: str) -> int | None:
    """When the next attempt may begin, None when nothing waits."""
    query = sa.select(sa.func.min(_delivery.due_us)).where(
        _delivery.subscription == name, _delivery.state == State.WAITING.value
    )
    found: int | None = conn.scalar(query)
    return found


def count_open(conn: sa.Connection, name: str) -> int:
    """How many messages of a subscription wait or are dead."""
    query = (
        sa.select(sa.func.count())
        .select_from(notify_delivery)
        .where(_delivery.subscription == name, _delivery.state.in_(_OPEN))
    )
    return conn.scalars(query).one()


def settle(conn: sa.Connection, before: Delivery, state: State, due_us: int, ended_us: int, error: str) -> bool:
    """Write how an attempt ended; False when another one was first."""
    here = (
        _delivery.id == before.id,
        _delivery.state == State.WAITING.value,
        _delivery.attempts == before.attempts,
    )
    values = {"state": state.value, "due_us": due_us, "ended_us": ended_us, "error": error}
    change = sa.update(notify_delivery).where(*here).values(**values, attempts=before.attempts + 1)
    return bool(conn.execute(change).rowcount)


def revive(conn: sa.Connection, ids: Sequence[int] | None, now_us: int) -> list[str]:
    """Have dead letters sent again, all of them for None; the subscription of each that was dead."""
    dead = [_delivery.state == State.DEAD.value]
    if ids is not None:
        dead.append(_delivery.id.in_(ids))
    change = sa.update(notify_delivery).where(*dead).returning(_delivery.subscription)
    return list(conn.scalars(change.values(state=State.WAITING.value, attempts=0, due_us=now_us)))


def page(conn: sa.Connection, name: str | None, state: State | None, before: int | None, limit: int) -> list[Delivery]:
    """Messages, newest first; None for whichever."""
    query = _SHOWN.order_by(_delivery.id.desc()).limit(limit)
    if name is not None:
        query = query.where(_delivery.subscription == name)
    if state is not None:
        query = query.where(_delivery.state == state.value)
    if before is not None:
        query = query.where(_delivery.id < before)
    return [_delivery_of(row) for row in conn.execute(query)]


def forget(conn: sa.Connection) -> None:
    """Keep only the newest of what was delivered."""
    newest = sa.select(sa.func.max(_delivery.id)).scalar_subquery()
    old = (_delivery.state == State.DELIVERED.value, _delivery.id <= newest - DELIVERED_MAX)
    conn.execute(sa.delete(notify_delivery).where(*old))


def _columns(place: Place) -> dict[str, Any]:
    return {"origin": place.origin, "next_index": place.next, "event_id": place.event_id}


def _row(row: Any) -> Row:
    place = Place(row.origin, row.next_index, row.event_id)
    return Row(subscription_from(row.name, canonical.loads(row.document)), place, row.disabled_us)


def _delivery_of(row: Any) -> Delivery:
    return Delivery(
        row.id,
        row.subscription,
        row.event,
        row.kind,
        row.run,
        row.project,
        State(row.state),
        row.attempts,
        row.due_us,
        row.made_us,
        row.ended_us,
        row.error,
    )
